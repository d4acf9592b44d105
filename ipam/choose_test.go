package ipam

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestChoose(t *testing.T) {
	tests := []struct {
		name string
		in   Request
		want string // "" for none
	}{
		{"only one left, at the end", Request{Network: netip.MustParsePrefix("10.0.0.0/22"), Length: 24, Taken: prefixes("10.0.0.0/23", "10.0.2.0/24")}, "10.0.3.0/24"},
		{"only one left, at the start", Request{Network: netip.MustParsePrefix("10.0.0.0/22"), Length: 24, Taken: prefixes("10.0.1.0/24"), Reserved: prefixes("10.0.2.0/23")}, "10.0.0.0/24"},
		{"a longer prefix takes the whole subnet", Request{Network: netip.MustParsePrefix("10.0.0.0/23"), Length: 24, Taken: prefixes("10.0.0.9/32")}, "10.0.1.0/24"},
		{"races lost are avoided", Request{Network: netip.MustParsePrefix("10.0.0.0/23"), Length: 24, Avoid: prefixes("10.0.1.0/24")}, "10.0.0.0/24"},
		{"the network itself as subnet", Request{Network: netip.MustParsePrefix("10.0.0.0/24"), Length: 24}, "10.0.0.0/24"},
		{"full", Request{Network: netip.MustParsePrefix("10.0.0.0/23"), Length: 24, Taken: prefixes("10.0.0.0/24", "10.0.1.128/25")}, ""},
		{"covered from above", Request{Network: netip.MustParsePrefix("10.0.0.0/23"), Length: 24, Reserved: prefixes("10.0.0.0/8")}, ""},
		{"subnet wider than the network", Request{Network: netip.MustParsePrefix("10.0.0.0/24"), Length: 16}, ""},
		{"length beyond the family", Request{Network: netip.MustParsePrefix("10.0.0.0/24"), Length: 64}, ""},
		{"no network", Request{Length: 24}, ""},
		{"the other family and outsiders do not matter", Request{Network: netip.MustParsePrefix("10.0.0.0/24"), Length: 24, Taken: prefixes("fd00::/8", "10.0.1.0/24", "192.168.0.0/16")}, "10.0.0.0/24"},
		{"host bits in what is taken", Request{Network: netip.MustParsePrefix("10.0.0.0/23"), Length: 24, Taken: []netip.Prefix{netip.MustParsePrefix("10.0.0.77/25")}}, "10.0.1.0/24"},
		{"ipv6, one left", Request{Network: netip.MustParsePrefix("fd00:0:0:8::/63"), Length: 64, Taken: prefixes("fd00:0:0:8:1::/80")}, "fd00:0:0:9::/64"},
		{"ipv6, long subnets", Request{Network: netip.MustParsePrefix("fd00::/127"), Length: 128, Taken: prefixes("fd00::/128")}, "fd00::1/128"},
		{"whole address space", Request{Network: netip.MustParsePrefix("0.0.0.0/0"), Length: 1, Taken: prefixes("0.0.0.0/1")}, "128.0.0.0/1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.Seed = "node-a"
			got, ok := Choose(tt.in)
			if ok != (tt.want != "") || ok && got.String() != tt.want {
				t.Errorf("Choose = %v, %v; want %q", got, ok, tt.want)
			}
		})
	}
}

// TestChooseFillsPools takes subnet after subnet, as nodes would, until there
// is none: every one must be handed out once, none twice.
func TestChooseFillsPools(t *testing.T) {
	for _, tt := range []struct {
		network string
		length  int
		odd     []netip.Prefix // reserved, of other lengths
		want    int
	}{
		{"10.0.0.0/16", 24, prefixes("10.0.4.0/22", "10.0.9.1/32", "10.0.255.0/24"), 256 - 4 - 1 - 1},
		{"198.18.0.0/26", 32, nil, 64},
		{"fd00:1::/55", 64, prefixes("fd00:1:0:20::/60", "fd00:1:0:50::1/128"), 512 - 16 - 1},
	} {
		t.Run(tt.network, func(t *testing.T) {
			r := Request{Network: netip.MustParsePrefix(tt.network), Length: tt.length, Reserved: tt.odd}
			for n := 0; ; n++ {
				r.Seed = fmt.Sprintf("node-%d", n)
				got, ok := Choose(r)
				if !ok {
					if n != tt.want {
						t.Fatalf("exhausted after %d, want %d", n, tt.want)
					}
					return
				}
				if !r.Network.Overlaps(got) || got.Bits() != tt.length || got != got.Masked() {
					t.Fatalf("%v is not a subnet of %s", got, tt.network)
				}
				for _, other := range append(r.Taken, tt.odd...) {
					if other.Overlaps(got) {
						t.Fatalf("%v overlaps %v", got, other)
					}
				}
				r.Taken = append(r.Taken, got)
			}
		})
	}
}

func TestChooseIsStableAndSpread(t *testing.T) {
	r := Request{Network: netip.MustParsePrefix("10.0.0.0/8"), Length: 24}
	seen := map[netip.Prefix]bool{}
	for n := range 200 {
		r.Seed, r.Taken = fmt.Sprintf("node-%d", n), nil
		a, _ := Choose(r)
		b, _ := Choose(r)
		r.Taken = prefixes("10.77.0.0/24") // of somebody else
		c, _ := Choose(r)
		if a != b || c != a && a != r.Taken[0] {
			t.Fatalf("%s: %v, then %v, then %v", r.Seed, a, b, c)
		}
		seen[a] = true
	}
	if len(seen) < 195 { // 65536 places: the chance of six collisions is nil
		t.Errorf("200 nodes chose only %d different subnets", len(seen))
	}
	// On a pool where every first choice is taken they still spread.
	r = Request{Network: netip.MustParsePrefix("10.0.0.0/16"), Length: 24, Reserved: prefixes("10.0.0.0/17")}
	clear(seen)
	for n := range 40 {
		r.Seed = fmt.Sprintf("node-%d", n)
		a, _ := Choose(r)
		seen[a] = true
	}
	if len(seen) < 25 {
		t.Errorf("40 nodes chose only %d different subnets of 128", len(seen))
	}
}

// TestChooseAgainstModel compares with the obvious search on random small pools.
func TestChooseAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 3000 {
		r := Request{Network: netip.MustParsePrefix("10.1.0.0/20"), Length: 20 + rng.IntN(7), Seed: fmt.Sprint(rng.Uint32())}
		if rng.IntN(2) == 0 {
			r.Network, r.Length = netip.MustParsePrefix("fd00:0:0:ff00::/58"), 58+rng.IntN(9)
		}
		for range rng.IntN(9) {
			base := r.Network.Addr().As16()
			base[15], base[14], base[7] = base[15]|byte(rng.IntN(256)), base[14]|byte(rng.IntN(16)), base[7]|byte(rng.IntN(64))
			if r.Network.Addr().Is4() {
				base[7] = 0
			}
			a := netip.AddrFrom16(base).Unmap()
			r.Taken = append(r.Taken, netip.PrefixFrom(a, r.Network.Bits()+rng.IntN(a.BitLen()-r.Network.Bits()+1)))
		}
		got, ok := Choose(r)
		if want := anyFree(r); ok != want {
			t.Fatalf("seed %d: %+v: found %v, want %v", seed, r, ok, want)
		}
		if ok && !isFree(r, got) {
			t.Fatalf("seed %d: %+v: %v is not free", seed, r, got)
		}
	}
}

func isFree(r Request, p netip.Prefix) bool {
	for _, t := range r.Taken {
		if t.Overlaps(p) {
			return false
		}
	}
	return r.Network.Contains(p.Addr())
}

func anyFree(r Request) bool {
	p, _ := newPool(r.Network, r.Length)
	for n := range p.size {
		if isFree(r, p.subnet(n)) {
			return true
		}
	}
	return false
}

func BenchmarkChoose(b *testing.B) {
	for _, bb := range []struct {
		network string
		length  int
	}{{"10.0.0.0/8", 24}, {"fd00::/48", 64}, {"fd00::/32", 64}} {
		b.Run(bb.network, func(b *testing.B) {
			r := Request{Network: netip.MustParsePrefix(bb.network), Length: bb.length}
			for n := range 10000 {
				r.Seed = fmt.Sprintf("node-%d", n)
				p, _ := newPool(r.Network, r.Length)
				r.Taken = append(r.Taken, p.subnet(uint64(n)*2654435761%p.size))
			}
			b.ResetTimer()
			for range b.N {
				if _, ok := Choose(r); !ok {
					b.Fatal("none found")
				}
			}
		})
	}
}

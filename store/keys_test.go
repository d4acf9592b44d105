package store

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/fabric"
)

func TestSubnetKey(t *testing.T) {
	for _, c := range []struct{ prefix, want string }{
		{"10.244.3.0/24", "subnets/ipv4/010.244.003.000-24"},
		{"0.0.0.0/0", "subnets/ipv4/000.000.000.000-0"},
		{"255.255.255.255/32", "subnets/ipv4/255.255.255.255-32"},
		{"fd00::/64", "subnets/ipv6/fd00:0000:0000:0000:0000:0000:0000:0000-64"},
		{"::ffff:1.2.3.0/120", "subnets/ipv6/0000:0000:0000:0000:0000:ffff:0102:0300-120"},
	} {
		p := netip.MustParsePrefix(c.prefix)
		got := subnetKey(p)
		if got != c.want {
			t.Errorf("subnetKey(%s)\n-want %s\n+got  %s", c.prefix, c.want, got)
		}
		info, err := parseKey(got)
		if err != nil || info.kind != kindSubnet || info.prefix != p {
			t.Errorf("parseKey(%s) = %+v, %v", got, info, err)
		}
	}
}

func TestParseKeyRefuses(t *testing.T) {
	for _, key := range []string{
		"subnets/", "subnets/ipv4/", "subnets/ipv5/010.000.000.000-8", "subnets/ipv4/10.0.0.0-8", "subnets/ipv4/010.000.000.000-08",
		"subnets/ipv4/010.000.000.000-33", "subnets/ipv4/010.000.000.000--1", "subnets/ipv4/010.000.000.000-+8", "subnets/ipv4/010.000.000.001-8",
		"subnets/ipv4/010.000.000.256-32", "subnets/ipv4/fd00::-8", "subnets/ipv6/fd00::-64", "subnets/ipv6/FD00:0000:0000:0000:0000:0000:0000:0000-64",
		"subnets/ipv6/fd00:0000:0000:0000:0000:0000:0000:0000%lo-64", "nodes/", "nodes/a/b", "nodes/a\nb", "alive/" + strings.Repeat("x", 300),
	} {
		if info, err := parseKey(key); err == nil {
			t.Errorf("parseKey(%q) = %+v, want an error", key, info)
		}
	}
	for _, key := range []string{"", "fabric2", "bgppeersx", "nodesx", "other/thing"} {
		if info, err := parseKey(key); err != nil || info.kind != kindUnknown {
			t.Errorf("parseKey(%q) = %+v, %v; want somebody else's", key, info, err)
		}
	}
}

func randomPrefix(r *rand.Rand) netip.Prefix {
	if r.IntN(2) == 0 {
		a := netip.AddrFrom4([4]byte{byte(r.IntN(256)), byte(r.IntN(4)), byte(r.IntN(256)), byte(r.IntN(256))})
		return netip.PrefixFrom(a, r.IntN(33)).Masked()
	}
	var b [16]byte
	for i := range b {
		b[i] = byte(r.IntN(256))
	}
	return netip.PrefixFrom(netip.AddrFrom16(b), r.IntN(129)).Masked()
}

// The overlap check stands on this: keys sort as addresses do, and the range
// of a prefix holds the keys of exactly the subnets that start inside it.
func TestKeyOrderIsAddressOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 20000 {
		p, q := randomPrefix(r), randomPrefix(r)
		if p.Addr().Is4() != q.Addr().Is4() {
			continue
		}
		if r.IntN(3) == 0 { // near each other
			q = netip.PrefixFrom(p.Addr(), r.IntN(p.Addr().BitLen()+1)).Masked()
		}
		if c := p.Addr().Compare(q.Addr()); c != 0 && c != strings.Compare(subnetKey(p), subnetKey(q)) {
			t.Fatalf("%v and %v sort unlike their keys", p, q)
		}
		from, to := subnetRange(p)
		key := subnetKey(q)
		if inside := from <= key && key < to; inside != p.Contains(q.Addr()) {
			t.Fatalf("key of %v in the range of %v [%s, %s): %v", q, p, from, to, inside)
		}
	}
}

func FuzzSubnetKey(f *testing.F) {
	f.Add("subnets/ipv4/010.244.003.000-24")
	f.Add("subnets/ipv6/fd00:0000:0000:0000:0000:0000:0000:0000-64")
	f.Add("subnets/ipv4/010.244.003.000-24/")
	f.Fuzz(func(t *testing.T, key string) {
		info, err := parseKey(key)
		if err == nil && info.kind == kindSubnet && subnetKey(info.prefix) != key {
			t.Errorf("%q is read as %v, whose key is %q", key, info.prefix, subnetKey(info.prefix))
		}
	})
}

func FuzzNodeRecord(f *testing.F) {
	f.Add([]byte(encodeJSON(testNode(1))))
	f.Add([]byte(`{"name":"n","id":"x","index":1,"underlay":{"ipv4":"::1"},"vtepMAC":"01:00:00:00:00:00"}`))
	f.Add([]byte(`{"index":-1}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		n, err := decodeNode("n", value)
		if err != nil {
			return
		}
		again, err := decodeNode("n", []byte(encodeJSON(n)))
		if err != nil || encodeJSON(again) != encodeJSON(n) {
			t.Errorf("%q is read as %+v, which is not read back: %v", value, n, err)
		}
		for _, fam := range fabric.Families {
			if a := n.Underlay.Get(fam); a.IsValid() && (fabric.FamilyOf(a) != fam || a.IsMulticast() || a.IsLoopback()) {
				t.Errorf("address %v passed as %v", a, fam)
			}
		}
	})
}

func FuzzSubnetRecord(f *testing.F) {
	f.Add([]byte(`{"owner":"x","epoch":3}`))
	f.Add([]byte(`{"for":"node"}`))
	f.Add([]byte(`{"owner":"x"}{}`))
	p := netip.MustParsePrefix("10.244.3.0/24")
	f.Fuzz(func(t *testing.T, value []byte) {
		s, err := decodeSubnet(p, value)
		if err == nil && (s.Owner == "" && s.For == "" || s.Prefix != p) {
			t.Errorf("%q is read as %+v", value, s)
		}
	})
}

package ipam

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// TestAgainstModel runs random operations on small subnets and compares with
// a map; the walk over the free list is part of the model.
func TestAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	s := open(t, t.TempDir(), Options{})
	subnets := prefixes("10.0.0.0/28", "fd00::/123")
	model := map[int][]netip.Prefix{}
	for step := range 3000 {
		n := rng.IntN(16)
		held, has := model[n]
		switch rng.IntN(5) {
		case 0, 1:
			g, err := s.Allocate(t.Context(), Claim{Attachment: pod(n)}, subnets)
			switch {
			case has && (err != nil || !slices.Equal(g.Addrs, held)):
				t.Fatalf("seed %d step %d: %d has %v, got %v, %v", seed, step, n, held, g.Addrs, err)
			case !has && len(model) == 13: // a /28 has 13
				if !errors.Is(err, ErrFull) {
					t.Fatalf("seed %d step %d: full, got %v, %v", seed, step, g.Addrs, err)
				}
			case err != nil:
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			default:
				model[n] = g.Addrs
			}
		case 2, 3:
			if freed := release(t, s, pod(n)); len(freed) != len(held) {
				t.Fatalf("seed %d step %d: %d had %v, freed %v", seed, step, n, held, freed)
			}
			delete(model, n)
		default:
			got, err := s.Lookup(t.Context(), pod(n))
			if err != nil || len(got) != len(held) || has && (got[0] != held[0].Addr() || got[1] != held[1].Addr()) {
				t.Fatalf("seed %d step %d: %d has %v, found %v, %v", seed, step, n, held, got, err)
			}
		}
		distinct := map[netip.Prefix]bool{}
		for _, addrs := range model {
			distinct[addrs[0]], distinct[addrs[1]] = true, true
		}
		if len(distinct) != 2*len(model) {
			t.Fatalf("seed %d step %d: one address twice: %v", seed, step, model)
		}
	}
	for _, p := range subnets {
		check(t, s, p)
	}
}

func BenchmarkAllocate(b *testing.B) {
	subnet := netip.MustParsePrefix("10.0.0.0/16")
	for _, taken := range []int{0, 60000} {
		b.Run(fmt.Sprintf("taken=%d", taken), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{})
			if taken > 0 {
				fill(b, s, subnet, taken)
			}
			for n := 0; b.Loop(); n++ {
				allocate(b, s, Attachment{Container: "bench", Interface: fmt.Sprint(n % 1000)}, subnet)
				release(b, s, Attachment{Container: "bench", Interface: fmt.Sprint(n % 1000)})
			}
		})
	}
}

// fill allocates n addresses in one go.
func fill(tb testing.TB, s *Slots, subnet netip.Prefix, n int) {
	tb.Helper()
	allocate(tb, s, Attachment{Container: "first", Interface: "eth0"}, subnet)
	err := withBook(s, subnet, func(b *book) error {
		for i := range n - 1 {
			if _, err := b.allocate(ownerOf(pod(i))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

package ipam

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// model says what may be handed out. It knows every address of its subnets.
type model struct {
	subnets []netip.Prefix
	addrs   []*modelAddr
	open    map[netip.Prefix]bool
	now     time.Duration
}

type modelAddr struct {
	netip.Addr
	subnet netip.Prefix
	owner  int // who has or had it last, -1 before that
	used   bool
	freed  time.Duration // when
}

func newModel(subnets []netip.Prefix) *model {
	m := &model{subnets: subnets, open: map[netip.Prefix]bool{}}
	for _, p := range subnets {
		m.open[p] = true
		g := newGeometry(p, [16]byte{})
		for slot := uint32(firstSlot); slot < g.slots; slot++ {
			m.addrs = append(m.addrs, &modelAddr{Addr: g.addr(slot), subnet: p, owner: -1})
		}
	}
	return m
}

// where returns the addresses that are so.
func (m *model) where(is func(a *modelAddr) bool) (out []*modelAddr) {
	for _, a := range m.addrs {
		if is(a) {
			out = append(out, a)
		}
	}
	return out
}

func (m *model) held(n int) []*modelAddr {
	return m.where(func(a *modelAddr) bool { return a.used && a.owner == n })
}

func (m *model) free(a *modelAddr) { a.used, a.freed = false, m.now }

// take gives the attachment an address; if it asked for it and had others in
// open subnets, these go.
func (m *model) take(n int, got netip.Addr, asked bool) {
	for _, a := range m.addrs {
		if a.Addr != got || a.used {
			continue
		}
		for _, b := range m.held(n) {
			if asked && b.Is4() == a.Is4() && m.open[b.subnet] {
				m.free(b)
			}
		}
		a.used, a.owner = true, n
	}
}

// allowed says why attachment n must not get the address, "" if it may. It asks
// for want, or for any if that is not valid.
func (m *model) allowed(n int, got, want netip.Addr) string {
	i := slices.IndexFunc(m.addrs, func(a *modelAddr) bool { return a.Addr == got })
	if i < 0 || !m.open[m.addrs[i].subnet] {
		return "it is no pod's"
	}
	a := m.addrs[i]
	family := func(b *modelAddr) bool { return b.Is4() == got.Is4() && m.open[b.subnet] }
	has := m.where(func(b *modelAddr) bool { return family(b) && b.used && b.owner == n })
	had := m.where(func(b *modelAddr) bool { return family(b) && !b.used && b.owner == n })
	forgotten := m.where(func(b *modelAddr) bool {
		return family(b) && !b.used && (b.owner < 0 || m.now-b.freed >= Quarantine)
	})
	earlier := m.where(func(b *modelAddr) bool { return family(b) && !b.used && b.owner >= 0 && b.freed < a.freed })
	switch {
	case a.used && a.owner != n:
		return fmt.Sprintf("%d has it", a.owner)
	case want.IsValid():
		if got != want {
			return "it is not the one asked for"
		}
	case len(has) > 0:
		if !slices.Contains(has, a) {
			return "it has another"
		}
	case len(had) > 0:
		last := slices.MaxFunc(had, func(x, y *modelAddr) int { return cmp.Compare(x.freed, y.freed) })
		if !slices.Contains(had, a) || a.freed < last.freed {
			return fmt.Sprintf("it had %s last", last.Addr)
		}
	case slices.Contains(forgotten, a):
	case len(forgotten) > 0:
		return fmt.Sprintf("it was freed %v ago, and %s was not", m.now-a.freed, forgotten[0].Addr)
	case len(earlier) > 0:
		return fmt.Sprintf("%s was freed before", earlier[0].Addr)
	}
	return ""
}

// refused says why an allocation must not have failed, "" if it may.
func (m *model) refused(n int, want netip.Addr, err error) string {
	for _, four := range []bool{true, false} {
		mine := m.where(func(a *modelAddr) bool {
			return a.Is4() == four && m.open[a.subnet] && (!a.used || a.owner == n)
		})
		if len(mine) == 0 && (errors.Is(err, ErrFull) || errors.Is(err, ErrClosed)) {
			return ""
		}
	}
	for _, a := range m.addrs {
		switch {
		case a.Addr != want:
		case !m.open[a.subnet] && errors.Is(err, ErrClosed), a.used && a.owner != n && errors.Is(err, ErrInUse):
			return ""
		}
	}
	return "there was no reason to"
}

// TestAgainstModel runs random operations on small subnets and compares them
// with what the model allows.
func TestAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	s := open(t, t.TempDir(), Options{Note: func(_, reason string) { t.Error(reason) }})
	advance := setClock(s)
	m := newModel(prefixes("10.0.0.0/29", "10.0.0.16/29", "fd00::/125", "fd00::10/125"))
	openSubnets(t, s, m.subnets...)
	fail := func(step int, format string, args ...any) {
		t.Helper()
		t.Fatalf("seed %d step %d: "+format, append([]any{seed, step}, args...)...)
	}
	for step := range 4000 {
		n := rng.IntN(14)
		switch rng.IntN(12) {
		case 0, 1, 2, 3, 4:
			c := Claim{Attachment: pod(n), Network: "n"}
			var want netip.Addr
			if rng.IntN(3) == 0 {
				want = m.addrs[rng.IntN(len(m.addrs))].Addr
				c.Want = []netip.Addr{want}
			}
			g, err := s.Allocate(t.Context(), c, m.subnets)
			if err != nil {
				if why := m.refused(n, want, err); why != "" {
					fail(step, "%d asked for %v and was refused: %v: %s", n, c.Want, err, why)
				}
				break
			}
			for i, got := range g.Addrs {
				asked := want
				if want.IsValid() && want.Is4() != got.Addr().Is4() {
					asked = netip.Addr{}
				}
				if why := m.allowed(n, got.Addr(), asked); why != "" || len(g.Addrs) != 2 || got.Addr().Is4() != (i == 0) {
					fail(step, "%d asked for %v and got %v: %s", n, c.Want, g.Addrs, why)
				}
				m.take(n, got.Addr(), asked.IsValid())
			}
		case 5, 6, 7:
			freed, held := release(t, s, pod(n)), m.held(n)
			if len(freed) != len(held) {
				fail(step, "%d had %v, freed %v", n, held, freed)
			}
			for _, a := range freed {
				j := slices.IndexFunc(held, func(h *modelAddr) bool { return h.Addr == a })
				if j < 0 {
					fail(step, "%d had %v, freed %v", n, held, freed)
				}
				m.free(held[j])
			}
		case 8:
			by := time.Duration(rng.Int64N(int64(Quarantine)))
			advance(by)
			m.now += by
		case 9:
			var keep []netip.Prefix
			for _, p := range m.subnets {
				m.open[p] = rng.IntN(4) > 0
				if m.open[p] {
					keep = append(keep, p)
				}
			}
			openSubnets(t, s, keep...)
		default:
			got, err := s.Lookup(t.Context(), pod(n))
			if held := m.held(n); err != nil || len(got) != len(held) {
				fail(step, "%d has %v, found %v, %v", n, held, got, err)
			}
			for _, a := range m.held(n) {
				if who, _, err := s.Who(t.Context(), a.Addr); err != nil || who.Attachment != pod(n) || !who.InUse {
					fail(step, "%s is %v's, %v, not of %d", a, who, err, n)
				}
			}
		}
		advance(time.Millisecond) // no two releases at one time
		m.now += time.Millisecond
	}
	for _, p := range m.subnets {
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

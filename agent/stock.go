package agent

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/ipam"
)

// fewest is how many addresses should be free in a small subnet, whatever the
// share: a percent of a /28 is nothing, and a further subnet takes a moment.
const fewest = 4

// stock is what a node has of one family: its open subnets, the oldest first.
type stock struct {
	subnets []ipam.Usage
	total   int // addresses
	used    int
}

// stock counts the open subnets of a family.
func (g *grower) stock(f fabric.Family) (s stock) {
	for _, p := range g.next.open {
		if u, ok := g.usage[p]; ok && fabric.FamilyOf(p.Addr()) == f {
			s.subnets = append(s.subnets, u)
			s.total += u.Size
			s.used += u.InUse
		}
	}
	return s
}

// least is how many of so many addresses should be free.
func least(total, minFree int) int {
	return max((total*minFree+99)/100, min(fewest, total/4), 1)
}

// low reports whether fewer addresses are free than should be.
func (s *stock) low(spec fabric.AddressSpec) bool {
	return spec.MinFree > 0 && s.total-s.used < least(s.total, spec.MinFree)
}

// wants is how many subnets there should be: one more than there are as long as
// too few addresses are free.
func (s *stock) wants(spec fabric.AddressSpec) int {
	n := len(s.subnets)
	if s.low(spec) && n < spec.MaxSubnets {
		n++
	}
	return max(n, 1)
}

// lack is why a node gets no further subnets of a family.
type lack struct {
	reason string // empty: it does
	needed bool   // and it should have one now
}

func (s *stock) lacks(spec fabric.AddressSpec, f fabric.Family, denied string) lack {
	switch n := len(s.subnets); {
	case spec.MinFree == 0:
		return lack{reason: "spec.addresses.minFree is 0, so no further subnet is leased", needed: s.total-s.used < least(s.total, 1)}
	case n >= spec.MaxSubnets:
		return lack{reason: fmt.Sprintf("%s subnets: the node has %d, spec.addresses.maxSubnets is %d", f, n, spec.MaxSubnets), needed: s.low(spec)}
	}
	return lack{reason: denied, needed: denied != "" && s.low(spec)}
}

// spare is a subnet that is not needed, and from when on it may go; invalid:
// there is none. It is the youngest that has no pod, never the oldest, and only
// where the others leave so many addresses free that it would not be wanted back
// soon: the share and a quarter of the rest.
func (s *stock) spare(spec fabric.AddressSpec, idle map[netip.Prefix]time.Time) (netip.Prefix, time.Time) {
	for i := len(s.subnets) - 1; i > 0; i-- {
		u := s.subnets[i]
		since, ok := idle[u.Subnet]
		if !ok {
			continue
		}
		total := s.total - u.Size
		if total-s.used < least(total, spec.MinFree+(100-spec.MinFree)/4) {
			break
		}
		return u.Subnet, since.Add(time.Duration(spec.ReturnAfter))
	}
	return netip.Prefix{}, time.Time{}
}

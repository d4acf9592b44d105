package bgp

import (
	"net/netip"

	"github.com/weft-net/weft/kernel"
)

// FIB turns what the speaker learnt into kernel objects: a route for each
// prefix, and for each set of next hops that was announced an object that all
// its routes share. It has state and no I/O, and belongs to one goroutine.
type FIB struct{}

// Guard is what no peer may say, whatever the policies let in.
type Guard struct {
	Networks []netip.Prefix // of the fabric's pods: no next hop lies in one
	Own      []netip.Prefix // leases of this node: nobody else has a route to them
	Addrs    []netip.Addr   // of this host: no next hop is one
}

// RouteState is what becomes of a prefix.
type RouteState struct {
	NextHops []netip.Addr // as announced
	Hops     []kernel.Hop // where packets go
	Refused  string       // why there is no route, in words; empty: there is
}

// NewFIB makes an empty one.
func NewFIB() *FIB { return &FIB{} }

// Guard replaces the guard. Routes that were taken in before are judged anew.
func (f *FIB) Guard(g Guard) {}

// Learn takes in changes.
func (f *FIB) Learn(changes []Change) {}

// NextHops are all that routes use, resolved or not, in no particular order.
func (f *FIB) NextHops() []netip.Addr { return nil }

// Unresolved are those of NextHops of which Resolve has said nothing since
// they came into use.
func (f *FIB) Unresolved() []netip.Addr { return nil }

// Resolve says how these next hops are reached from now on; an empty list:
// not at all. The others stay as they are.
func (f *FIB) Resolve(hops map[netip.Addr][]kernel.Hop) {}

// Take is the difference of All since the last Take. Objects that only change
// are in add alone.
func (f *FIB) Take() (remove, add kernel.Objects) { return kernel.Objects{}, kernel.Objects{} }

// All is everything that is wanted now. It does not change what Take gives.
func (f *FIB) All() kernel.Objects { return kernel.Objects{} }

// Len counts, as of the last Take: routes wanted, sets of several next hops
// in use, and prefixes learnt that have no route.
func (f *FIB) Len() (routes, groups, refused int) { return 0, 0, 0 }

// Route says what becomes of a prefix; false: nothing was learnt of it.
func (f *FIB) Route(p netip.Prefix) (RouteState, bool) { return RouteState{}, false }

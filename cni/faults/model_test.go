package faults

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/ipam"
)

// model knows what a correct plugin may answer. Calls run in parallel, so it
// judges only by what is certain: an address is somebody's from the end of the
// ADD that answered it to the beginning of the next call for the same container,
// and free from the end of the call that freed it to the beginning of the next
// that may take it. What a call that was killed did is read from the slot files.
type model struct {
	mu      sync.Mutex
	open    []netip.Prefix // subnets that new addresses come from
	moving  bool           // open changes now
	moved   time.Time      // when it last did
	holders map[netip.Addr]string
	has     map[string][]netip.Addr
	last    map[netip.Addr]string // who had it last
	freed   map[netip.Addr]freeing
	// limbo are addresses that the sweep frees at some time: of containers that are
	// gone and whose DEL was killed, and what an ADD after another has left.
	limbo map[netip.Addr]fabric.Family
	// flying counts the calls under way: each may have taken or freed one address
	// in each family.
	flying int
	faults []string
	past   map[netip.Addr][]string // what happened to an address, latest last
}

// freeing is when an address was freed: the call that did it began at from and
// ended at to.
type freeing struct{ from, to time.Time }

// note remembers what happened to an address, for the message of a fault.
func (m *model) note(a netip.Addr, who, what string) {
	const most = 12
	past := append(m.past[a], time.Now().Format("15:04:05.000000 ")+who+": "+what)
	m.past[a] = past[max(0, len(past)-most):]
}

// swept notes what the sweep freed.
func (m *model) swept(slots []ipam.Slot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range slots {
		m.note(s.Addr, s.Container, "swept")
	}
}

func newModel(open []netip.Prefix) *model {
	return &model{
		open: open, holders: map[netip.Addr]string{}, has: map[string][]netip.Addr{},
		last: map[netip.Addr]string{}, limbo: map[netip.Addr]fabric.Family{}, freed: map[netip.Addr]freeing{}, past: map[netip.Addr][]string{},
	}
}

// flight is a call under way.
type flight struct {
	id    string
	began time.Time
	want  netip.Addr   // asked for; zero: any
	held  []netip.Addr // before
}

// begin: from now on nothing is certain of what the container has.
func (m *model) begin(id string, want netip.Addr) flight {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flying++
	f := flight{id: id, began: time.Now(), want: want, held: m.has[id]}
	for _, a := range f.held {
		delete(m.holders, a)
		m.note(a, id, "next call")
	}
	return f
}

func (m *model) fault(f flight, format string, args ...any) {
	m.faults = append(m.faults, f.id+": "+fmt.Sprintf(format, args...))
}

// holds says what the container has at the end of a call.
func (m *model) holds(f flight, addrs []netip.Addr) {
	now := time.Now()
	for _, a := range addrs {
		if other, taken := m.holders[a]; taken {
			m.fault(f, "got %v, which %s has; %s", a, other, strings.Join(m.past[a], "; "))
		}
		m.note(a, f.id, "has it")
		m.holders[a], m.last[a] = f.id, f.id
		delete(m.freed, a)
		delete(m.limbo, a)
	}
	for _, a := range f.held {
		if !slices.Contains(addrs, a) {
			m.freed[a] = freeing{f.began, now}
			m.note(a, f.id, "has it no more")
			if len(addrs) > 0 { // another instead: that of a draining subnet is left to the sweep
				m.limbo[a] = fabric.FamilyOf(a)
			}
		}
	}
	m.has[f.id] = addrs
}

// added judges an ADD that succeeded.
func (m *model) added(f flight, addrs []netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flying--
	for _, a := range addrs {
		if f.want.IsValid() && a.Is4() == f.want.Is4() {
			if a != f.want {
				m.fault(f, "got %v instead of %v", a, f.want)
			}
			continue
		}
		if slices.Contains(f.held, a) || m.last[a] == f.id || m.unsettled(f) {
			continue
		}
		m.chosen(f, a)
	}
	m.holds(f, addrs)
}

// chosen judges an address that the plugin chose by itself.
func (m *model) chosen(f flight, a netip.Addr) {
	if !slices.ContainsFunc(m.open, func(p netip.Prefix) bool { return p.Contains(a) }) {
		m.fault(f, "got %v of a subnet that is draining", a)
		return
	}
	freed, used := m.freed[a]
	if !used || !freed.to.Before(f.began) || time.Since(freed.from) > ipam.Quarantine {
		return // never used as far as is certain, or long enough ago
	}
	if never := m.neverUsed(fabric.FamilyOf(a)) - m.flying - 1; never > 0 {
		m.fault(f, "got %v, freed %v ago, while %d were never used; %s", a, time.Since(freed.to), never, strings.Join(m.past[a], "; "))
	}
	older := 0
	for b, other := range m.freed {
		if _, waits := m.limbo[b]; !waits && b.Is4() == a.Is4() && m.inOpen(b) && other.to.Before(f.began) && other.to.Before(freed.from) {
			older++
		}
	}
	// Calls under way may have taken some of them.
	if older > m.flying+1 {
		m.fault(f, "got %v, freed %v ago, while %d have been free for longer; %s", a, time.Since(freed.to), older, strings.Join(m.past[a], "; "))
	}
}

func (m *model) inOpen(a netip.Addr) bool {
	return slices.ContainsFunc(m.open, func(p netip.Prefix) bool { return p.Contains(a) })
}

// neverUsed counts a family's addresses that nobody is known to have had.
func (m *model) neverUsed(f fabric.Family) int {
	n := 0
	for _, p := range m.open {
		if fabric.FamilyOf(p.Addr()) == f {
			n += room(p)
		}
	}
	for a := range m.holders {
		if fabric.FamilyOf(a) == f && m.inOpen(a) {
			n--
		}
	}
	for a := range m.freed {
		if fabric.FamilyOf(a) == f && m.inOpen(a) {
			n--
		}
	}
	return n
}

// room is how many pods a small subnet has addresses for: all but its own, the
// gateway's and, in IPv4, the broadcast address.
func room(p netip.Prefix) int {
	n := 1<<(p.Addr().BitLen()-p.Bits()) - 2
	if p.Addr().Is4() {
		n--
	}
	return n
}

// full judges an ADD that was refused because nothing was free.
func (m *model) full(f flight, said answer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	free := map[fabric.Family]int{}
	for _, p := range m.open {
		free[fabric.FamilyOf(p.Addr())] += room(p)
	}
	for a := range m.holders {
		if m.inOpen(a) {
			free[fabric.FamilyOf(a)]--
		}
	}
	for _, family := range m.limbo {
		free[family]--
	}
	if !m.unsettled(f) && free[fabric.IPv4] > m.flying && free[fabric.IPv6] > m.flying {
		m.fault(f, "%s; %v are free", said, free)
	}
}

// refused judges an ADD that was refused because the address was in use.
func (m *model) refused(f flight, slots []ipam.Slot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	since := time.Since(f.began)
	for _, s := range slots {
		if s.Addr == f.want && !s.InUse && s.Age > since && !m.unsettled(f) {
			m.fault(f, "was told that %v is in use; it was freed %v ago", f.want, s.Age)
		}
	}
}

// outside judges an ADD that was refused because the address is of no subnet
// that takes new pods.
func (m *model) outside(f flight) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.inOpen(f.want) && !m.unsettled(f) {
		m.fault(f, "was told that %v is outside %v", f.want, m.open)
	}
}

// settled ends a call of which only the slot files can tell what it did: one that
// was killed, or refused after it may have held an address for a moment. Of a
// container that is gone nothing is certain.
func (m *model) settled(f flight, slots []ipam.Slot, gone bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flying--
	now := time.Now()
	var addrs []netip.Addr
	for family, found := range m.found(f, slots) {
		// Of two in a family one is stale: of a subnet that drained meanwhile. One
		// without a namespace was adopted too late. Both are for the sweep.
		if gone || len(found) > 1 || found[0].NetnsPath == "" {
			for _, s := range found {
				m.limbo[s.Addr], m.freed[s.Addr], m.last[s.Addr] = family, freeing{f.began, now}, f.id
				m.note(s.Addr, f.id, "has it, for the sweep")
			}
			continue
		}
		addrs = append(addrs, found[0].Addr)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	m.holds(f, addrs)
	for _, s := range slots {
		if _, taken := m.holders[s.Addr]; s.InUse || taken {
			continue
		}
		if at := now.Add(-s.Age); at.After(m.freed[s.Addr].to) {
			listed := now.Sub(f.began) // the slots were read within the call
			m.freed[s.Addr], m.last[s.Addr] = freeing{at.Add(-listed), at}, s.Container
		}
	}
}

// found are the slots in use by the container of a call, by family.
func (m *model) found(f flight, slots []ipam.Slot) map[fabric.Family][]ipam.Slot {
	out := map[fabric.Family][]ipam.Slot{}
	for _, s := range slots {
		if s.InUse && s.Attachment == attachment(f.id) {
			out[fabric.FamilyOf(s.Addr)] = append(out[fabric.FamilyOf(s.Addr)], s)
		}
	}
	return out
}

// deleted judges nothing: after a DEL the container has nothing.
func (m *model) deleted(f flight) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flying--
	m.holds(f, nil)
	delete(m.has, f.id)
}

// move makes the subnets that new addresses come from others; while that is not
// done either are right.
func (m *model) move(open []netip.Prefix, done bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open, m.moving, m.moved = open, !done, time.Now()
}

// unsettled reports whether the subnets changed while the call was under way.
func (m *model) unsettled(f flight) bool { return m.moving || m.moved.After(f.began) }

// attached is what each container has, while nothing is under way.
func (m *model) attached() map[string][]netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string][]netip.Addr{}
	for id, addrs := range m.has {
		if len(addrs) > 0 {
			out[id+"/eth0"] = addrs
		}
	}
	return out
}

// judgement returns what was wrong so far.
func (m *model) judgement() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.faults)
}

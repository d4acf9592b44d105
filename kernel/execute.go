package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// chunk is the number of messages between two looks at the notifications that
// they cause: few enough that these never overrun their buffer.
const chunk = 64

// execute carries out steps in order. The error says that the socket failed;
// the kernel's refusals are noted in r.failed.
func (r *pass) execute(ops []op) error {
	for from := 0; from < len(ops); {
		to, err := r.bulk(ops, from)
		if err != nil {
			return err
		}
		if to == from { // a step that is no message
			r.settle(ops[from], r.single(ops[from]))
			to++
		}
		if err := r.drain(); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// single carries out a step that is not a message of its own.
func (r *pass) single(o op) error {
	switch o.kind {
	case links:
		return r.writeLink(o)
	case sysctls:
		return r.state.writeSysctl(o.slot)
	case masquerade:
		return r.writeNAT(o)
	}
	return fmt.Errorf("a %s is not written by itself", o.kind)
}

// bulk sends the steps from on that are messages, a chunk at most.
func (r *pass) bulk(ops []op, from int) (to int, err error) {
	b := &r.batch
	b.Reset()
	var sent [2 * chunk]op
	for to = from; to < len(ops) && b.Len() < chunk; to++ {
		o := ops[to]
		if o.kind == links || o.kind == sysctls || o.kind == masquerade {
			break
		}
		if b.Len() > 0 && o.kind == groups && ops[to-1].kind != groups {
			break // which members there are must be known, see encodeGroup
		}
		before := b.Len()
		if err := r.encode(o); err != nil {
			r.failed[ref{o.kind, o.slot}] = err
		}
		for i := before; i < b.Len(); i++ {
			sent[i] = o
		}
	}
	if b.Len() == 0 {
		return to, nil
	}
	errs, err := r.conn.Execute(b)
	for i, err := range errs {
		if i+1 < len(errs) && sent[i] == sent[i+1] {
			continue // the deletion before a creation; the latter's error counts
		}
		r.settle(sent[i], err)
	}
	return to, err
}

// encode appends the messages of a step, one or two.
func (r *pass) encode(o op) error {
	b, s := &r.batch, &r.state
	if o.verb == remake {
		if err := r.encode(op{o.kind, destroy, o.slot}); err != nil {
			return err
		}
		o.verb = create
	}
	switch o.kind {
	case addrs:
		return encodeAddr(b, &s.ifaces, o.verb, s.addrs.entries[o.slot].key)
	case fdb:
		return encodeFDB(b, &s.ifaces, o.verb, &s.fdb.entries[o.slot])
	case neighs:
		return encodeNeigh(b, &s.ifaces, o.verb, &s.neighs.entries[o.slot])
	case nexthops:
		return encodeNexthop(b, &s.ifaces, o.verb, &s.nexthops.entries[o.slot])
	case groups:
		return s.encodeGroup(b, o.verb, &s.groups.entries[o.slot])
	}
	encodeRoute(b, o.verb, &s.routes.entries[o.slot])
	return nil
}

// settle notes the outcome of a step.
func (r *pass) settle(o op, err error) {
	r.report.Writes++
	if err == nil {
		r.accepted(o)
	} else {
		r.refused(o, err)
	}
}

func (r *pass) accepted(o op) {
	r.done++
	wanted, _, asked := r.state.table(o.kind).about(o.slot)
	if asked && (o.kind == links || o.kind == addrs) {
		r.caused = true
	}
	if !asked && !r.caused && r.settled {
		r.repaired(ref{o.kind, o.slot})
	}
	if o.kind == sysctls { // nothing notifies of it
		r.state.askSysctl(r.state.sysctls.entries[o.slot].key)
	}
	if wanted && o.verb == destroy {
		r.stale = true // one of two at its key, see routeVerb
	}
	if o.kind == routes && o.verb == change && mtuChanges(&r.state.routes.entries[o.slot]) {
		r.outlearnt = true
	}
}

func (r *pass) refused(o op, err error) {
	switch {
	case o.verb == destroy && gone(err):
		r.stale = true // what we know is not what is there
		r.state.table(o.kind).forget(o.slot)
		return
	case o.kind == groups && errors.Is(err, unix.EINVAL):
		r.stale = true // a member went this moment
		if r.state.groups.entries[o.slot].actual == strange && o.verb == change {
			r.state.groups.setStuck(o.slot) // its type cannot be changed
		}
	case o.kind == nexthops && o.verb == change && errors.Is(err, unix.EINVAL):
		// IPv6 refuses a gateway that a route leads to through another device,
		// even a route of the very object that is to move to the device
		// (net/ipv6/route.c, ip6_route_check_nh_onlink). And a group is not
		// replaced by a single gateway (net/ipv4/nexthop.c, replace_nexthop).
		r.state.nexthops.setStuck(o.slot)
		r.stale = true
	case errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH):
		r.stale = true // likewise
	}
	r.failed[ref{o.kind, o.slot}] = err
}

// repaired counts an object once, however many steps it took.
func (r *pass) repaired(o ref) {
	if r.mended[o] {
		return
	}
	if r.report.Repaired == nil {
		r.report.Repaired, r.mended = map[string]int{}, map[ref]bool{}
	}
	r.mended[o] = true
	r.report.Repaired[o.kind.String()]++
}

// gone reports whether the kernel says that what was to be deleted is not there.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EADDRNOTAVAIL)
}

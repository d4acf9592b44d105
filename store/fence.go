package store

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/fabric"
)

// fenceByRecord gives up subnets that are somebody else's by now: the node
// must not hand out their addresses for one moment longer. It goes on with the
// others where they are of the same families.
func (ss *Session) fenceByRecord() {
	o := &ss.own
	var left []fabric.Subnet
	reason := ""
	for _, s := range o.subnets {
		why := ss.view.lostTo(ss.opt.Self.ID, s)
		if why == "" {
			left = append(left, s)
			continue
		}
		reason = cmp.Or(reason, why)
		o.avoid = append(o.avoid, s.Prefix)
		o.had = slices.DeleteFunc(slices.Clone(o.had), func(h fabric.Subnet) bool { return h.Prefix == s.Prefix })
	}
	switch {
	case reason == "":
	case families(left) != families(o.subnets):
		ss.fenced(reason)
	default: // pods can still come
		o.subnets = left
		o.epoch++
		ss.report(Lease{State: Leased, Reason: reason, Index: o.index, Subnets: slices.Clone(left)})
	}
}

// families says of which there are subnets.
func families(list []fabric.Subnet) (has fabric.PerFamily[bool]) {
	for _, s := range list {
		has.Set(fabric.FamilyOf(s.Prefix.Addr()), true)
	}
	return has
}

// fenceByTime gives up subnets whose lease may have expired while etcd could
// not be reached. What is reserved for the node has no lease and stays.
func (ss *Session) fenceByTime() {
	o := &ss.own
	o.arm(time.Time{})
	leased := slices.ContainsFunc(o.subnets, func(s fabric.Subnet) bool { return s.For == "" })
	if !leased {
		return
	}
	o.granted = false
	ss.trusted = false
	ss.fenced(fmt.Sprintf("etcd could not be reached for %v, the life of the subnet's lease: another node may own it by now", o.long.ttl))
}

func (ss *Session) fenced(why string) {
	ss.own.subnets = nil
	ss.own.epoch++
	ss.report(Lease{State: Fenced, Reason: why, Index: ss.own.index})
}

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// Group is the members of a nexthop group, the ids of nexthop objects with one
// gateway each, of equal weight. It is a string so that it is comparable: four
// bytes for each id, most significant first, in ascending order. Make one with
// GroupOf.
type Group string

// strange is the value of a group that weft never makes: with weights, or
// resilient.
const strange Group = "?"

// GroupOf is the group of these nexthop objects. Order and repetition do not
// matter (the kernel refuses a member twice).
func GroupOf(ids ...uint32) Group {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	b := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		b = binary.BigEndian.AppendUint32(b, id)
	}
	return Group(b)
}

// Members are the ids of the group's nexthop objects, ascending.
func (g Group) Members() []uint32 {
	ids := make([]uint32, 0, len(g)/4)
	for b := []byte(g); len(b) >= 4; b = b[4:] {
		ids = append(ids, binary.BigEndian.Uint32(b))
	}
	return ids
}

// String lists the members as ip(8) does.
func (g Group) String() string {
	var texts []string
	for _, id := range g.Members() {
		texts = append(texts, fmt.Sprintf("%#x", id))
	}
	return strings.Join(texts, "/")
}

const (
	sizeofGroupEntry = 8 // struct nexthop_grp: id, weight less one, its high byte, reserved
	nhaGroupType     = 3 // NHA_GROUP_TYPE: 0 is hash-threshold multipath
)

// decodeGroup reads NHA_GROUP.
func decodeGroup(v []byte) Group {
	var ids []uint32
	for ; len(v) >= sizeofGroupEntry; v = v[sizeofGroupEntry:] {
		if rtnl.U16(v[4:]) != 0 {
			return strange
		}
		ids = append(ids, rtnl.U32(v))
	}
	if len(ids) == 0 {
		return strange
	}
	return GroupOf(ids...)
}

var (
	errNoMember   = errors.New("none of its members is there")
	errFewMembers = errors.New("it lacks members that are not there")
)

// groupVerb: see nexthopVerb. An object with a gateway of its own at this id
// must go first.
func (s *state) groupVerb(e *entry[uint32, Group]) (verb, bool) {
	single := s.nexthops.find(e.key)
	switch {
	case s.foreign.nexthops[e.key] != "":
		return 0, false
	case e.stuck || single != nil && single.present:
		return remake, true
	case e.present:
		return change, true
	}
	return create, true
}

// encodeGroup: a change is one message, so that all routes through the group
// move at once, however many. The kernel refuses a group whole when one member
// is not there; so those that are there make it up, and the error says so.
func (s *state) encodeGroup(b *rtnl.Batch, v verb, e *entry[uint32, Group]) error {
	if v == destroy {
		encodeNexthopGone(b, e.key)
		return nil
	}
	var there []uint32
	members := e.want.Members()
	for _, id := range members {
		if m := s.nexthops.find(id); m != nil && m.present {
			there = append(there, id)
		}
	}
	if len(there) == 0 {
		return errNoMember
	}
	var short error
	if len(there) < len(members) {
		short = errFewMembers
		if v == change && e.actual == GroupOf(there...) {
			return short
		}
	}
	nl := uint16(unix.NLM_F_CREATE | unix.NLM_F_EXCL)
	if v == change {
		nl = unix.NLM_F_REPLACE
	}
	nexthopHeader(b, unix.RTM_NEWNEXTHOP, nl, unix.AF_UNSPEC, 0)
	b.U32(unix.NHA_ID, e.key)
	entries := make([]byte, 0, sizeofGroupEntry*len(there))
	for _, id := range there {
		entries = append(native.AppendUint32(entries, id), 0, 0, 0, 0)
	}
	b.Bytes(unix.NHA_GROUP, entries)
	return short
}

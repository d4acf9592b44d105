package kernel

import (
	"fmt"
	"slices"
	"strings"
)

// The texts below are what reports, logs and golden files show: the words of
// ip(8) and bridge(8). The String of a key names an object (Failure.Object and
// Conflict.Object); that of a value says all of it.

func (k RouteKey) String() string { return fmt.Sprintf("route %s metric %d", k.Dst, k.Metric) }
func (k FDBKey) String() string   { return fmt.Sprintf("fdb %s dev %s", k.MAC, k.Link) }
func (k NeighKey) String() string { return fmt.Sprintf("neighbour %s dev %s", k.Addr, k.Link) }

func (a Addr) String() string   { return fmt.Sprintf("address %s dev %s", a.Prefix, a.Link) }
func (s Sysctl) String() string { return fmt.Sprintf("sysctl %s = %s", s.Path, s.Value) }
func (f FDB) String() string    { return fmt.Sprintf("%s dst %s", f.FDBKey, f.Dst) }
func (n Neigh) String() string  { return fmt.Sprintf("%s lladdr %s", n.NeighKey, n.MAC) }

func (l Link) String() string {
	s := fmt.Sprintf("link %s %s address %s mtu %d", l.Kind, l.Name, l.MAC, l.MTU)
	if l.Kind != VXLAN {
		return s
	}
	v := l.VXLAN
	s += fmt.Sprintf(" id %d dstport %d local %s", v.VNI, v.Port, v.Local)
	if v.Uplink != "" {
		s += " dev " + v.Uplink
	}
	if v.UDPChecksum {
		s += " udpcsum"
	}
	if v.DF {
		s += " df set"
	}
	return s
}

// Name is the text that names the object, without what it says.
func (n Nexthop) Name() string {
	if n.Group != "" {
		return fmt.Sprintf("nexthop group %#x", n.ID)
	}
	return fmt.Sprintf("nexthop %#x", n.ID)
}

func (n Nexthop) String() string {
	if n.Group != "" {
		return fmt.Sprintf("%s of %s", n.Name(), n.Group)
	}
	s := fmt.Sprintf("%s via %s dev %s", n.Name(), n.Gateway, n.Link)
	if n.OnLink {
		s += " onlink"
	}
	return s
}

func (r Route) String() string {
	s := r.RouteKey.String()
	switch r.Type {
	case Blackhole:
		s += " blackhole"
	case Unreachable:
		s += " unreachable"
	default:
		s += fmt.Sprintf(" nhid %#x", r.Nexthop)
	}
	if r.MTU != 0 {
		s += fmt.Sprintf(" mtu %d", r.MTU)
	}
	return s
}

func (m Masquerade) String() string {
	return fmt.Sprintf("masquerade from {%s} except to {%s}", m.Sources, m.Except)
}

// String lists the objects a line each, in the order in which they are
// programmed and sorted within a kind.
func (o Objects) String() string {
	var b strings.Builder
	lines(&b, o.Links)
	lines(&b, o.Sysctls)
	lines(&b, o.Addrs)
	lines(&b, o.FDB)
	lines(&b, o.Neighs)
	lines(&b, o.Nexthops)
	lines(&b, o.Routes)
	if o.Masquerade != (Masquerade{}) {
		lines(&b, []Masquerade{o.Masquerade})
	}
	return b.String()
}

func lines[T fmt.Stringer](b *strings.Builder, objects []T) {
	texts := make([]string, len(objects))
	for i, o := range objects {
		texts[i] = o.String() + "\n"
	}
	slices.Sort(texts)
	for _, t := range texts {
		b.WriteString(t)
	}
}

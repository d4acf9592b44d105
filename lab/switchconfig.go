package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/backends/bgp/switchconf"
	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
)

// switchConfig is what a switch's daemon is told.
type switchConfig struct {
	Name     string
	ASN      uint32
	RouterID netip.Addr
	// Nodes are the sessions with nodes, as `weft bgp tor-config` has them.
	Nodes switchconf.Switch
	// Links are the sessions with other switches, where they speak.
	Links     []linkNeighbor
	NodeAddrs []netip.Prefix // of its own, towards nodes
	// Segments are its own networks, where it announces them to other switches.
	Segments []netip.Prefix
	// Static are the routes to other switches' networks, where it is not. The
	// kernel has them already; a daemon that does not look there needs them too.
	Static []staticRoute
}

// linkNeighbor is another switch at the end of a link.
type linkNeighbor struct {
	Name      string
	ASN       uint32
	Address   netip.Addr
	Local     netip.Addr
	Interface string
}

// ID is the neighbour's name fit for BIRD's identifiers.
func (n linkNeighbor) ID() string { return strings.ReplaceAll(n.Name, "-", "_") }

type staticRoute struct {
	Prefix netip.Prefix
	Via    netip.Addr
}

// HasNodes reports whether any node has a session with the switch.
func (c switchConfig) HasNodes() bool { return len(c.Nodes.Groups) > 0 }

// OwnKernel reports whether the part for the nodes leaves it to the lab's part
// to put routes of a family into the kernel.
func (c switchConfig) OwnKernel(f fabric.Family) bool {
	return !c.HasNodes() || len(c.Nodes.FromNodes.Get(f)) == 0
}

// LinksOf are the sessions with switches over one family; they carry its routes.
func (c switchConfig) LinksOf(f fabric.Family) []linkNeighbor {
	return slices.DeleteFunc(slices.Clone(c.Links), func(n linkNeighbor) bool { return fabric.FamilyOf(n.Address) != f })
}

// StaticOf are the static routes of one family.
func (c switchConfig) StaticOf(f fabric.Family) []staticRoute {
	return slices.DeleteFunc(slices.Clone(c.Static), func(r staticRoute) bool { return fabric.FamilyOf(r.Via) != f })
}

// SegmentsOf are the switch's networks of one family.
func (c switchConfig) SegmentsOf(f fabric.Family) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(c.Segments), func(p netip.Prefix) bool { return fabric.FamilyOf(p.Addr()) != f })
}

// StartSwitches configures and starts the daemons of all switches.
func (l *Lab) StartSwitches(ctx context.Context) error {
	f, err := l.fabric()
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range l.Switches() {
		if s.daemon == nil {
			continue
		}
		g.Go(func() error {
			c, err := s.config(f)
			if err == nil {
				err = s.daemon.configure(c)
			}
			if err != nil {
				return fmt.Errorf("switch %s: %w", s.Spec.Name, err)
			}
			return s.Start(ctx)
		})
	}
	return g.Wait()
}

// fabric is what an operator knows of the fabric before it is there.
func (l *Lab) fabric() (switchconf.Fabric, error) {
	data, err := l.objects(l.Topo.Fabric)
	if err != nil {
		return switchconf.Fabric{}, err
	}
	objects, err := config.ParseObjects("topology", data)
	if err != nil {
		return switchconf.Fabric{}, err
	}
	out := switchconf.Fabric{Spec: config.SpecOf(objects), BGP: config.BGPOf(objects)}
	for _, h := range l.Hosts {
		n := switchconf.Node{Node: fabric.Node{Name: h.Spec.Name, ID: fabric.NodeID(h.NodeID()), Underlay: h.Underlay, Labels: h.Spec.Labels}}
		for _, tor := range l.rackToRs(h.rack)[1:] {
			for _, f := range h.families() {
				n.Addrs = append(n.Addrs, h.addrs(tor.place).Get(f))
			}
		}
		out.Nodes = append(out.Nodes, n)
	}
	return out, nil
}

// objects are the Fabric with this spec and the topology's BGP objects, as a
// file for `weft apply`. Where spec names no network it gets the lab's own.
func (l *Lab) objects(spec map[string]any) ([]byte, error) {
	docs := []map[string]any{fabricObject(spec)}
	docs = append(docs, l.Topo.BGP...)
	var b strings.Builder
	for i, d := range docs {
		if i > 0 {
			b.WriteString("---\n") // a YAML document may be JSON
		}
		data, err := json.Marshal(d)
		if err != nil {
			return nil, fmt.Errorf("object %d of the topology: %w", i, err)
		}
		b.Write(append(data, '\n'))
	}
	return []byte(b.String()), nil
}

// config computes what the switch's daemon is told.
func (s *Switch) config(f switchconf.Fabric) (switchConfig, error) {
	c := switchConfig{Name: s.Spec.Name, ASN: s.Spec.ASN, RouterID: s.routerID(), NodeAddrs: s.nodeAddrs()}
	if s.lab.Topo.switchesSpeak() {
		c.Links = s.neighbors()
	}
	if s.lab.Topo.staticRoutes() {
		c.Static = s.statics()
	} else {
		c.Segments = s.segments()
	}
	nodes, err := switchconf.For(f, switchconf.Place{
		Name: c.Name, ASN: c.ASN, RouterID: c.RouterID, Addrs: c.NodeAddrs, Listen: s.isToR(),
	})
	if err != nil {
		return c, fmt.Errorf("sessions with nodes: %w", err)
	}
	for _, g := range nodes.Groups {
		if g.Secret != "" {
			return c, errors.New("the lab has no secrets for BGP sessions")
		}
	}
	c.Nodes = nodes
	return c, nil
}

// segments are the switch's networks with hosts and leaves.
func (s *Switch) segments() []netip.Prefix {
	var out []netip.Prefix
	for _, f := range fabric.Families {
		switch {
		case s.isToR():
			out = append(out, torSegment(s.number, f).net)
		case s.place == 1:
			for _, k := range s.lab.leafLinks() {
				out = append(out, linkSegment(k, 1, f).net)
			}
		}
	}
	return out
}

// leafLinks are the links of the first spine that lead to no ToR.
func (l *Lab) leafLinks() []int {
	out := []int{linkOutside}
	for i := range l.Topo.Etcd.Members {
		out = append(out, linkEtcd+i)
	}
	return out
}

// nodeAddrs are the addresses at which nodes know the switch.
func (s *Switch) nodeAddrs() []netip.Prefix {
	var out []netip.Prefix
	for _, f := range fabric.Families {
		if s.isToR() {
			seg := torSegment(s.number, f)
			out = append(out, seg.on(seg.gateway))
			continue
		}
		for _, tor := range s.lab.tors {
			link := linkSegment(tor.link(), s.place, f)
			out = append(out, link.on(link.gateway))
		}
	}
	return out
}

// neighbors are the switches at the other ends of its links.
func (s *Switch) neighbors() []linkNeighbor {
	var out []linkNeighbor
	for _, f := range fabric.Families {
		for _, tor := range s.lab.tors {
			for _, spine := range s.lab.spines {
				link := linkSegment(tor.link(), spine.place, f)
				far := farAddr(tor.link(), spine.place, f)
				switch s {
				case tor:
					out = append(out, linkNeighbor{spine.Spec.Name, spine.Spec.ASN, link.gateway, far, spine.Spec.Name})
				case spine:
					out = append(out, linkNeighbor{tor.Spec.Name, tor.Spec.ASN, far, link.gateway, tor.Spec.Name})
				}
			}
		}
	}
	return out
}

// statics are the routes that connect put into the kernel.
func (s *Switch) statics() []staticRoute {
	var out []staticRoute
	for _, f := range fabric.Families {
		for _, tor := range s.lab.tors {
			switch {
			case !s.isToR():
				out = append(out, staticRoute{torSegment(tor.number, f).net, farAddr(tor.link(), s.place, f)})
			case tor != s:
				out = append(out, staticRoute{torSegment(tor.number, f).net, linkSegment(s.link(), 1, f).gateway})
			}
		}
	}
	return out
}

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/weft-net/weft/fabric"
)

// Switch is a ToR or a spine: a namespace that forwards, with the routing
// daemon of its kind.
type Switch struct {
	*Namespace
	Spec SwitchSpec

	lab    *Lab
	rack   int // from 1; 0: a spine
	place  int // from 1, among the ToRs of its rack or the spines
	number int // of a ToR in the plan
	daemon daemon
}

// daemon is the routing software of a switch.
type daemon interface {
	// configure writes its configuration.
	configure(c switchConfig) error
	// start starts what of it does not run.
	start(ctx context.Context) error
	// processes are those it consists of, in the order of their start.
	processes() []*Process
	// command runs a command of its own command line.
	command(ctx context.Context, words string) (string, error)
}

// newSwitch describes a switch whose namespace is there.
func (l *Lab) newSwitch(spec SwitchSpec, n *Namespace, rack, place int) *Switch {
	s := &Switch{Namespace: n, Spec: spec, lab: l, rack: rack, place: place}
	if rack == 0 {
		l.spines = append(l.spines, s)
	} else {
		s.number = torNumber(rack, place)
		l.tors = append(l.tors, s)
	}
	switch spec.Kind {
	case KindFRR:
		s.daemon = newFRR(s)
	case KindBIRD:
		s.daemon = newBIRD(s)
	case KindRouter:
		s.daemon = newRouter(s)
	}
	return s
}

// spaceName is the name of a switch's namespace in the lab.
func (s SwitchSpec) spaceName(isToR bool) string {
	if isToR {
		return "tor-" + s.Name
	}
	return s.Name
}

// addSpine makes spine s, from 1.
func (l *Lab) addSpine(s int) error {
	spec := l.Topo.Spines[s-1]
	n, err := l.space(spec.spaceName(false), true)
	if err != nil {
		return err
	}
	l.newSwitch(spec, n, 0, s)
	return nil
}

// addToR makes ToR t of rack i: a bridge whose own addresses are the hosts'
// gateways, and a routed uplink to each spine.
func (l *Lab) addToR(i, t int) error {
	rack := l.Topo.Racks[i-1]
	spec := rack.ToRs[t-1]
	n, err := l.space(spec.spaceName(true), true)
	if err != nil {
		return err
	}
	tor := l.newSwitch(spec, n, i, t)
	// An address of its own: else it would be the least of its ports', and change
	// under the hosts when one is plugged in, which no switch's does.
	mac := fabric.DeriveMAC("lab switch", n.Name)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: torBridge, MTU: rack.MTU, HardwareAddr: mac[:]}}
	if err := n.links.LinkAdd(bridge); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	if err := n.setUp(torBridge); err != nil {
		return err
	}
	for _, spine := range l.spines {
		if err := veth(n, spine.Spec.Name, spine.Namespace, spec.Name, rack.MTU); err != nil {
			return err
		}
	}
	for _, f := range fabric.Families {
		s := torSegment(tor.number, f)
		if err := n.addAddr(torBridge, s.on(s.gateway)); err != nil {
			return err
		}
	}
	return tor.connect()
}

// connect gives the links between a ToR and the spines their addresses and,
// on a static underlay, makes both ends know each other's networks. It may be
// repeated: a device that goes down loses its routes.
func (s *Switch) connect() error {
	for _, spine := range s.lab.spines {
		for _, f := range fabric.Families {
			link := linkSegment(s.link(), spine.place, f)
			if err := errors.Join(
				spine.addAddr(s.Spec.Name, link.on(link.gateway)),
				s.addAddr(spine.Spec.Name, link.on(farAddr(s.link(), spine.place, f))),
			); err != nil {
				return err
			}
			if !s.lab.Topo.staticRoutes() {
				continue
			}
			if err := errors.Join(
				s.addRoute(defaultRoute(f), link.gateway),
				spine.addRoute(torSegment(s.number, f).net, farAddr(s.link(), spine.place, f)),
			); err != nil {
				return err
			}
		}
		if err := errors.Join(s.waitAddrs(spine.Spec.Name), spine.waitAddrs(s.Spec.Name)); err != nil {
			return err
		}
	}
	return nil
}

// link is the number of a ToR's links to the spines.
func (s *Switch) link() int { return linkToR + s.number }

// isToR reports whether it has hosts.
func (s *Switch) isToR() bool { return s.rack > 0 }

// routerID is its BGP identifier: its address on a link of its own.
func (s *Switch) routerID() netip.Addr {
	if s.isToR() {
		return farAddr(s.link(), 1, fabric.IPv4)
	}
	return netip.AddrFrom4([4]byte{198, 19, 0, byte(s.place)})
}

// dir is where its daemon keeps configuration and sockets.
func (s *Switch) dir() string { return filepath.Join(s.lab.Dir(), "switches", s.Spec.Name) }

// rackToRs are the ToRs of rack i, from 1.
func (l *Lab) rackToRs(i int) []*Switch {
	return slices.DeleteFunc(slices.Clone(l.tors), func(s *Switch) bool { return s.rack != i })
}

// Switches are all ToRs, by rack, and then the spines.
func (l *Lab) Switches() []*Switch { return slices.Concat(l.tors, l.spines) }

// Switch returns the ToR or spine with that name, or nil.
func (l *Lab) Switch(name string) *Switch {
	all := l.Switches()
	i := slices.IndexFunc(all, func(s *Switch) bool { return s.Spec.Name == name })
	if i < 0 {
		return nil
	}
	return all[i]
}

// ports are its interfaces to hosts, other switches and leaves.
func (s *Switch) ports() ([]string, error) {
	links, err := s.links.LinkList()
	if err != nil {
		return nil, fmt.Errorf("links of %s: %w", s.Name, err)
	}
	var out []string
	for _, link := range links {
		if link.Type() == "veth" {
			out = append(out, link.Attrs().Name)
		}
	}
	return out, nil
}

// Cut takes all links of the switch down, as a power cut would: whoever is at
// their other ends sees the carrier go.
func (s *Switch) Cut() error { return s.eachPort(s.setDown) }

// Restore undoes Cut.
func (s *Switch) Restore() error {
	if err := s.eachPort(s.setUp); err != nil {
		return err
	}
	tors := []*Switch{s}
	if !s.isToR() {
		tors = s.lab.tors
	}
	for _, tor := range tors {
		if err := tor.connect(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Switch) eachPort(do func(string) error) error {
	ports, err := s.ports()
	errs := []error{err}
	for _, p := range ports {
		errs = append(errs, do(p))
	}
	return errors.Join(errs...)
}

// Start starts the switch's daemon, or what of it does not run.
func (s *Switch) Start(ctx context.Context) error {
	if s.daemon == nil {
		return nil
	}
	if err := s.daemon.start(ctx); err != nil {
		return fmt.Errorf("switch %s: %w", s.Spec.Name, err)
	}
	return nil
}

// Stop ends the daemon in order: it says goodbye to its neighbours.
func (s *Switch) Stop(ctx context.Context) error {
	return s.eachProcess(func(p *Process) error { return p.Stop(ctx) })
}

// Kill kills the daemon without warning. What it had put into the kernel
// stays.
func (s *Switch) Kill() error { return s.eachProcess((*Process).Kill) }

// eachProcess does something to the daemon's processes, last started first.
func (s *Switch) eachProcess(do func(*Process) error) error {
	if s.daemon == nil {
		return fmt.Errorf("switch %s has no daemon", s.Spec.Name)
	}
	var errs []error
	for _, p := range slices.Backward(s.daemon.processes()) {
		errs = append(errs, do(p))
	}
	return errors.Join(errs...)
}

// Command runs a command of the daemon's own command line (vtysh, birdc), such
// as "show bgp summary", and returns what it says.
func (s *Switch) Command(ctx context.Context, words string) (string, error) {
	if s.daemon == nil {
		return "", fmt.Errorf("switch %s has no daemon", s.Spec.Name)
	}
	return s.daemon.command(ctx, words)
}

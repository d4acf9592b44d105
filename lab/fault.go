package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/weft-net/weft/fabric"
)

// Cut takes the host's ports at its switches down: the host sees the carrier
// go.
func (h *Host) Cut() error {
	return h.eachToR(func(tor *Switch) error { return tor.setDown(h.Spec.Name) })
}

// Restore undoes Cut and CutUplink.
func (h *Host) Restore() error {
	return h.eachToR(func(tor *Switch) error { return tor.setUp(h.Spec.Name) })
}

// CutUplink takes one of the host's ports down, that at ToR t of its rack, from
// 1.
func (h *Host) CutUplink(t int) error {
	tors := h.lab.rackToRs(h.rack)
	if t < 1 || t > len(tors) {
		return fmt.Errorf("host %s has %d uplinks, none is number %d", h.Spec.Name, len(tors), t)
	}
	return tors[t-1].setDown(h.Spec.Name)
}

// Swallow makes the switches drop every frame from and to the host while the
// carrier stays: the host cannot see it. Without it, frames flow again.
func (h *Host) Swallow(on bool) error {
	return h.eachToR(func(tor *Switch) error {
		return tor.change(h.Spec.Name, "bridge port", func(l netlink.Link) error {
			if on {
				return tor.links.LinkSetNoMaster(l)
			}
			return tor.enslave(h.Spec.Name, torBridge)
		})
	})
}

// CutRack takes a rack's links to the spines down, or up again.
func (l *Lab) CutRack(rack string, cut bool) error {
	i := l.Topo.rack(rack)
	if i < 0 {
		return errors.New("there is no rack " + rack)
	}
	var errs []error
	for _, tor := range l.rackToRs(i + 1) {
		for _, spine := range l.spines {
			if cut {
				errs = append(errs, spine.setDown(tor.Spec.Name))
			} else {
				errs = append(errs, spine.setUp(tor.Spec.Name))
			}
		}
		if !cut {
			errs = append(errs, tor.connect()) // a device that goes down loses its routes
		}
	}
	return errors.Join(errs...)
}

// SetMTU changes the MTU of the host's uplinks, both ends, in bytes.
func (h *Host) SetMTU(mtu int) error {
	return h.eachToR(func(tor *Switch) error {
		return errors.Join(tor.setMTU(h.Spec.Name, mtu), h.setMTU(uplinkName(tor.place), mtu))
	})
}

// Tamper runs a command on the host, such as `ip route del ...`.
func (h *Host) Tamper(ctx context.Context, name string, args ...string) error {
	_, err := h.Run(ctx, name, args...)
	return err
}

// Die ends a host as a power cut would: its links go, its agent is killed,
// and its pods answer nobody.
func (h *Host) Die() error { return errors.Join(h.Cut(), h.Agent.Kill()) }

// eachToR does something at every ToR of the host's rack.
func (h *Host) eachToR(do func(*Switch) error) error {
	var errs []error
	for _, tor := range h.lab.rackToRs(h.rack) {
		errs = append(errs, do(tor))
	}
	return errors.Join(errs...)
}

// CutOff ends the BGP sessions between a ToR and the spines, or lets them be:
// what nodes tell the ToR is not known beyond it, while their sessions with it
// and the underlay stay. It is for FRR alone.
func (l *Lab) CutOff(ctx context.Context, tor *Switch, off bool) error {
	var errs []error
	for _, spine := range l.spines {
		words := []string{"configure terminal", fmt.Sprintf("router bgp %d", tor.Spec.ASN)}
		for _, f := range fabric.Families {
			line := fmt.Sprintf("neighbor %s shutdown", linkSegment(tor.link(), spine.place, f).gateway)
			if !off {
				line = "no " + line
			}
			words = append(words, line)
		}
		_, err := tor.Command(ctx, strings.Join(words, "\n"))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

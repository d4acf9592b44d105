package lab

import (
	"context"
	"errors"

	"github.com/vishvananda/netlink"
)

// Cut takes the host's port at its switch down: the host sees the carrier go.
func (h *Host) Cut() error { return h.tor().setDown(h.Spec.Name) }

// Restore undoes Cut.
func (h *Host) Restore() error { return h.tor().setUp(h.Spec.Name) }

// Swallow makes the switch drop every frame from and to the host while the
// carrier stays: the host cannot see it. Without it, frames flow again.
func (h *Host) Swallow(on bool) error {
	return h.tor().change(h.Spec.Name, "bridge port", func(l netlink.Link) error {
		if on {
			return h.tor().links.LinkSetNoMaster(l)
		}
		return h.tor().enslave(h.Spec.Name, torBridge)
	})
}

// CutRack takes a rack's link to the spine down, or up again.
func (l *Lab) CutRack(rack string, cut bool) error {
	i := l.Topo.rack(rack)
	if i < 0 {
		return errors.New("there is no rack " + rack)
	}
	if cut {
		return l.spine.setDown(rack)
	}
	if err := l.spine.setUp(rack); err != nil {
		return err
	}
	return l.routeRack(i + 1) // a device that goes down loses its routes
}

// SetMTU changes the MTU of the host's uplink, both ends, in bytes.
func (h *Host) SetMTU(mtu int) error {
	set := func(n *Namespace, dev string) error {
		return n.change(dev, "mtu", func(l netlink.Link) error { return n.links.LinkSetMTU(l, mtu) })
	}
	return errors.Join(set(h.tor(), h.Spec.Name), set(h.Namespace, uplink))
}

// Tamper runs a command on the host, such as `ip route del ...`.
func (h *Host) Tamper(ctx context.Context, name string, args ...string) error {
	_, err := h.Run(ctx, name, args...)
	return err
}

// Die ends a host as a power cut would: its link goes, its agent is killed,
// and its pods answer nobody.
func (h *Host) Die() error { return errors.Join(h.Cut(), h.Agent.Kill()) }

func (h *Host) tor() *Namespace { return h.lab.tors[h.rack-1] }

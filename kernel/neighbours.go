package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel/rtnl"
)

// The states in which an entry's MAC can be used, and those in which the kernel
// need not be asked to look for it (include/net/neighbour.h, NUD_VALID). A
// permanent entry must not be: the request would end its permanence
// (net/core/neighbour.c, __neigh_update with NEIGH_UPDATE_F_USE).
const (
	nudValid   = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_PROBE | unix.NUD_STALE | unix.NUD_DELAY
	nudSettled = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_PROBE | unix.NUD_DELAY | unix.NUD_INCOMPLETE
)

// Neighbours looks up in the kernel's own tables (ARP, ND) to which MAC packets
// for a next hop go. It has a socket of its own and may be used by any
// goroutine.
type Neighbours struct {
	mu    sync.Mutex // guards all below
	conn  *rtnl.Conn
	batch rtnl.Batch
}

// NewNeighbours opens a socket in the calling thread's network namespace.
func NewNeighbours() (*Neighbours, error) {
	conn, err := rtnl.Dial()
	if err != nil {
		return nil, fmt.Errorf("look up neighbours: %w", err)
	}
	return &Neighbours{conn: conn}, nil
}

// Close releases the socket.
func (n *Neighbours) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conn.Close()
}

// Lookup gives the MAC of each of the hops that is known now. For one that is
// not, or that nobody has heard of for a while, the kernel is asked to find it
// out: a later look-up will have it if it is there. Each such hop costs a packet
// on its segment, so it is for the caller to bound their number. The error says
// that the kernel could not be asked.
func (n *Neighbours) Lookup(hops []Hop) (map[Hop]fabric.MAC, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := make(map[Hop]fabric.MAC, len(hops))
	err := n.lookup(hops, found)
	if err != nil {
		return nil, fmt.Errorf("look up %d neighbours: %w", len(hops), err)
	}
	return found, nil
}

func (n *Neighbours) lookup(hops []Hop, found map[Hop]fabric.MAC) error {
	links, err := n.links(hops)
	if err != nil {
		return err
	}
	var asked []Hop
	for _, h := range hops {
		if links[h.Link] != 0 && h.Gateway.IsValid() {
			asked = append(asked, h)
		}
	}
	states, err := n.states(asked, links, found)
	if err != nil {
		return err
	}
	n.batch.Reset()
	for i, h := range asked {
		if states[i]&nudSettled == 0 {
			neighRequest(&n.batch, unix.RTM_NEWNEIGH, unix.NLM_F_CREATE, links[h.Link], h.Gateway)
		}
	}
	// What cannot be resolved (the device is down this moment) is not known,
	// and the caller sees that it is not.
	_, err = n.conn.Execute(&n.batch)
	return err
}

// states gives the state of the entry of each hop, 0 where there is none, and
// notes the MACs.
func (n *Neighbours) states(asked []Hop, links map[string]uint32, found map[Hop]fabric.MAC) ([]uint16, error) {
	n.batch.Reset()
	for _, h := range asked {
		neighRequest(&n.batch, unix.RTM_GETNEIGH, 0, links[h.Link], h.Gateway)
	}
	states := make([]uint16, len(asked))
	errs, err := n.conn.Query(&n.batch, func(i int, m rtnl.Message) {
		e, ok := decodeNeigh(m.Data)
		if m.Type != unix.RTM_NEWNEIGH || !ok {
			return
		}
		states[i] = rtnl.U16(m.Data[8:])
		if states[i]&nudValid != 0 && e.mac != (fabric.MAC{}) {
			found[asked[i]] = e.mac
		}
	})
	for i, one := range errs {
		if err == nil && one != nil && !errors.Is(one, unix.ENOENT) && !absent(one) {
			err = fmt.Errorf("%s on %s: %w", asked[i].Gateway, asked[i].Link, one)
		}
	}
	return states, err
}

// links gives the index of each device that the hops name and that is there.
func (n *Neighbours) links(hops []Hop) (map[string]uint32, error) {
	n.batch.Reset()
	links, names := map[string]uint32{}, []string{}
	for _, h := range hops {
		if _, known := links[h.Link]; known || h.Link == "" || len(h.Link) >= unix.IFNAMSIZ {
			continue
		}
		links[h.Link] = 0
		names = append(names, h.Link)
		linkHeader(&n.batch, unix.RTM_GETLINK, 0, 0, 0)
		n.batch.String(unix.IFLA_IFNAME, h.Link)
		n.batch.U32(unix.IFLA_EXT_MASK, rtextSkipStats)
	}
	errs, err := n.conn.Query(&n.batch, func(i int, m rtnl.Message) {
		if m.Type == unix.RTM_NEWLINK && len(m.Data) >= unix.SizeofIfInfomsg {
			links[names[i]] = rtnl.U32(m.Data[4:])
		}
	})
	for i, one := range errs {
		if err == nil && one != nil && !absent(one) {
			err = fmt.Errorf("device %s: %w", names[i], one)
		}
	}
	return links, err
}

// absent reports whether an error is the kernel's answer that a device is not
// there, or does not speak the family.
func absent(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EAFNOSUPPORT)
}

// neighRequest asks for an entry, or, with RTM_NEWNEIGH, that it be used as if
// a packet were to be sent: then the kernel resolves it.
func neighRequest(b *rtnl.Batch, typ, flags uint16, index uint32, a netip.Addr) {
	var h [sizeofNdMsg]byte
	h[0] = family(a)
	native.PutUint32(h[4:], index)
	if typ == unix.RTM_NEWNEIGH {
		h[10] = unix.NTF_USE
	}
	b.Message(typ, flags, h[:])
	b.Addr(unix.NDA_DST, a)
}

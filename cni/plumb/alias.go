package plumb

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/kernel/rtnl"
)

// The alias of a pod's host interface says whose it is and which addresses it
// carries, so that neither depends on a file; the MAC address only where it does
// not follow from them:
//
//	weft-pod CONTAINER INTERFACE [MAC] ADDRESS [ADDRESS]
//
// It fits the kernel's 255 bytes because ipam bounds the names.
const aliasMark = "weft-pod"

// owner is what an alias says.
type owner struct {
	ipam.Attachment
	MAC   fabric.MAC
	Addrs []netip.Addr
}

func (p *Pod) alias() string {
	words := []string{aliasMark, p.Container, p.Interface}
	if mac := p.MAC(); mac != p.derived() {
		words = append(words, mac.String())
	}
	for _, a := range p.Addrs {
		words = append(words, a.Addr().String())
	}
	return strings.Join(words, " ")
}

// parseOwner is the inverse of alias; false for anything else.
func parseOwner(s string) (o owner, ok bool) {
	words := strings.Split(s, " ")
	if len(words) < 3 || words[0] != aliasMark {
		return o, false
	}
	o.Attachment = ipam.Attachment{Container: words[1], Interface: words[2]}
	words = words[3:]
	if len(words) > 0 {
		if mac, err := fabric.ParseMAC(words[0]); err == nil {
			o.MAC, words = mac, words[1:]
		}
	}
	for _, w := range words {
		addr, err := netip.ParseAddr(w)
		if err != nil {
			return owner{}, false
		}
		o.Addrs = append(o.Addrs, addr)
	}
	if o.MAC == (fabric.MAC{}) {
		o.MAC = derivedMAC(o.Addrs)
	}
	return o, o.Check() == nil
}

// parseAlias is parseOwner for those who ask for less.
func parseAlias(s string) (a ipam.Attachment, addrs []netip.Addr, ok bool) {
	o, ok := parseOwner(s)
	return o.Attachment, o.Addrs, ok
}

// Host is what the kernel shows of pods on this host.
type Host struct {
	Links map[string]bool // names of all interfaces
	InUse []ipam.Use
}

// ReadHost lists the interfaces in the calling thread's namespace and the
// addresses of the pods behind them.
func ReadHost() (Host, error) {
	c, err := rtnl.Dial()
	if err != nil {
		return Host{}, err
	}
	defer c.Close()
	var h Host
	err = dump(c, unix.RTM_GETLINK, ifinfo(0, 0), func() { h = Host{Links: map[string]bool{}} }, func(m rtnl.Message) error {
		l, err := decodeLink(m.Data)
		if err != nil {
			return err
		}
		h.Links[l.Name] = true
		a, addrs, ok := parseAlias(l.Alias)
		if !ok || a.HostInterface() != l.Name {
			return nil
		}
		for _, addr := range addrs {
			h.InUse = append(h.InUse, ipam.Use{Attachment: a, Addr: addr})
		}
		return nil
	})
	if err != nil {
		return Host{}, fmt.Errorf("list interfaces: %w", err)
	}
	return h, nil
}

// InUse is ReadHost for ipam.Options.
func InUse() ([]ipam.Use, error) {
	h, err := ReadHost()
	return h.InUse, err
}

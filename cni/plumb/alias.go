package plumb

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/kernel/rtnl"
)

// The alias of a pod's host interface says whose it is and which addresses it
// carries, so that neither depends on a file:
//
//	weft-pod CONTAINER INTERFACE ADDRESS [ADDRESS]
//
// It fits the kernel's 255 bytes because ipam bounds the names.
const aliasMark = "weft-pod"

func alias(a ipam.Attachment, addrs []netip.Prefix) string {
	words := []string{aliasMark, a.Container, a.Interface}
	for _, p := range addrs {
		words = append(words, p.Addr().String())
	}
	return strings.Join(words, " ")
}

// parseAlias is the inverse of alias; false for anything else.
func parseAlias(s string) (a ipam.Attachment, addrs []netip.Addr, ok bool) {
	words := strings.Split(s, " ")
	if len(words) < 3 || words[0] != aliasMark {
		return a, nil, false
	}
	a = ipam.Attachment{Container: words[1], Interface: words[2]}
	for _, w := range words[3:] {
		addr, err := netip.ParseAddr(w)
		if err != nil {
			return a, nil, false
		}
		addrs = append(addrs, addr)
	}
	return a, addrs, a.Check() == nil
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

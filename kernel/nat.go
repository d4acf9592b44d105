package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

const (
	natTable = "weft"
	natName  = "nftables table inet weft"
	// The attributes that name the table have the same number in messages of
	// tables, chains, rules, sets and elements (NFTA_TABLE_NAME and so on).
	nftaTable = 1
	// sizeofNfgenmsg is the fixed header of nfnetlink messages.
	sizeofNfgenmsg = 4
)

// setMasquerade takes in what is wanted. What cannot be parsed is wanted as a
// text that no table has, so that it fails when it is written.
func (h *Host) setMasquerade(m Masquerade) {
	h.masq = m
	if m == (Masquerade{}) {
		if e := h.state.nat.find(natTable); e != nil {
			h.state.nat.dropWant(natTable, e.want)
		}
		return
	}
	text := ""
	if t, err := newNATTable(m); err == nil {
		text = t.text()
	}
	h.state.nat.setWant(natTable, text)
}

// foldNAT marks the table as unread when a notification names it.
func (h *Host) foldNAT(m rtnl.Message) {
	if m.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || len(m.Data) < sizeofNfgenmsg || h.staleNAT {
		return
	}
	_ = rtnl.Attrs(m.Data[sizeofNfgenmsg:], func(typ uint16, v []byte) {
		if typ == nftaTable && rtnl.String(v) == natTable && m.Data[0] == unix.NFPROTO_INET {
			h.staleNAT = true
		}
	})
}

// dialNAT opens a connection in the calling thread's namespace.
func dialNAT() (*nftables.Conn, error) {
	return nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		// Every message of a transaction is acknowledged before the first
		// acknowledgement is read.
		return c.SetReadBuffer(natBuffer)
	}))
}

// readNAT learns what the table holds. A kernel without nftables holds none.
func (h *Host) readNAT() error {
	c, err := dialNAT()
	if err != nil {
		return fmt.Errorf("read %s: %w", natName, err)
	}
	text, err := readNATTable(c)
	err = errors.Join(err, c.CloseLasting())
	switch {
	case err != nil && !lacksNAT(err):
		return fmt.Errorf("read %s: %w", natName, err)
	case text == "":
		h.state.nat.dropActual(natTable)
	default:
		h.state.nat.setActual(natTable, text)
	}
	return nil
}

// lacksNAT reports whether err is how a kernel answers that lacks a module.
func lacksNAT(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT)
}

// writeNAT replaces or removes the table, in one transaction.
func (r *pass) writeNAT(o op) error {
	c, err := dialNAT()
	if err != nil {
		return err
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: natTable}
	// Adding what may be there makes deleting it always possible.
	c.AddTable(table)
	c.DelTable(table)
	if o.verb != destroy {
		var t natState
		if t, err = newNATTable(r.masq); err == nil {
			err = t.add(c)
		}
	}
	if err == nil {
		err = c.Flush()
	}
	if lacksNAT(err) {
		err = fmt.Errorf("%w: the kernel may lack nf_tables, nft_nat or nft_masq", err)
	}
	r.staleNAT = true
	return errors.Join(err, c.CloseLasting())
}

// interval is a range of addresses, both ends included.
type interval struct{ first, last netip.Addr }

// intervals parses prefixes separated by spaces and returns those of a family
// sorted, those that overlap or touch joined: an interval set takes no others.
func intervals(bits int, texts ...string) ([]interval, error) {
	var prefixes []netip.Prefix
	for _, text := range strings.Fields(strings.Join(texts, " ")) {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("masquerade: %w", err)
		}
		if p.Addr().BitLen() == bits {
			prefixes = append(prefixes, p.Masked())
		}
	}
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	var out []interval
	for _, p := range prefixes {
		last := lastOf(p)
		if n := len(out); n > 0 {
			if prev := &out[n-1]; !prev.last.Next().IsValid() || !prev.last.Next().Less(p.Addr()) {
				if prev.last.Less(last) {
					prev.last = last
				}
				continue
			}
		}
		out = append(out, interval{p.Addr(), last})
	}
	return out, nil
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

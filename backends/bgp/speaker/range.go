package speaker

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/backends/bgp"
)

// rangeRow makes rows of the sessions that come out of a range.
type rangeRow struct {
	prefix  netip.Prefix
	session bgp.Session
	md5     string // why its password could not be set
}

// partedMost bounds board.parted: anybody in a range could fill it.
const partedMost = 1024

func (b *board) rangeOf(addr netip.Addr) (rangeRow, bool) {
	best, found := rangeRow{}, false
	for _, r := range b.ranges {
		if r.prefix.Contains(addr.WithZone("")) && (!found || r.prefix.Bits() > best.prefix.Bits()) {
			best, found = r, true
		}
	}
	return best, found
}

// find is the row of an address; a session out of a range gets its row with
// its first event.
func (b *board) find(addr netip.Addr) *row {
	if r := b.byAddr[addr.String()]; r != nil {
		return r
	}
	from, ok := b.rangeOf(addr)
	if !ok {
		return nil
	}
	s := from.session
	s.Address = addr
	s.Key = rangeKey(from, addr)
	r := &row{session: s, dynamic: true, addr: addr, added: time.Now(), since: time.Now(), drops: b.drops()}
	if i := slices.IndexFunc(b.parted, func(old row) bool { return old.session.Key == s.Key }); i >= 0 {
		r.flaps, r.lastError = b.parted[i].flaps, b.parted[i].lastError
		b.parted = slices.Delete(b.parted, i, i+1)
	}
	b.rows[s.Key], b.byAddr[addr.String()] = r, r
	return r
}

// rangeKey names a session out of a range like any other: the BGPPeer's name
// and the far end.
func rangeKey(from rangeRow, addr netip.Addr) string {
	name, _, _ := strings.Cut(from.session.Key, "/")
	return cmp.Or(name, "range") + "/" + addr.String()
}

// part ends the row of a session out of a range.
func (b *board) part(r *row) {
	delete(b.rows, r.session.Key)
	delete(b.byAddr, r.addr.String())
	if r.flaps == 0 {
		return // it was never up
	}
	if len(b.parted) >= partedMost {
		b.parted = slices.Delete(b.parted, 0, 1)
	}
	b.parted = append(b.parted, *r)
}

// rangeFor is the range that an address is in.
func (b *board) rangeFor(addr netip.Addr) (netip.Prefix, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.rangeOf(addr)
	return r.prefix, ok
}

// members are the far ends of the sessions that came out of a range.
func (b *board) members(prefix netip.Prefix) []netip.Addr {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []netip.Addr
	for _, r := range b.rows {
		if r.dynamic && prefix.Contains(r.addr.WithZone("")) {
			out = append(out, r.addr)
		}
	}
	return out
}

package agent

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// doubts are about far ends whose link went. A switch that boots has its ports
// up long before it forwards, and graceful restart keeps its routes all the
// while (RFC 4724 knows of the control plane's end only): so what such a far
// end told is not used when its link is back, but when its session is.
type doubts struct {
	lost map[netip.Addr]time.Time // far ends that were on a link of ours, and since when they are not
	at   map[netip.Addr]string    // the device of that link
}

func newDoubts() doubts {
	return doubts{lost: map[netip.Addr]time.Time{}, at: map[netip.Addr]string{}}
}

// any reports whether the answers must be judged although no link changed.
func (d *doubts) any() bool { return len(d.lost) > 0 }

// farEnds adds the addresses of the sessions to those that are asked for.
func farEnds(ask []netip.Addr, sessions []bgp.SessionStatus) []netip.Addr {
	for _, s := range sessions {
		if s.Address.IsValid() {
			ask = append(ask, s.Address)
		}
	}
	slices.SortFunc(ask, netip.Addr.Compare)
	return slices.Compact(ask)
}

// judge takes the hops away from the answers that are not to be used yet. A
// next hop that is no session's, of the other family say, is as good as the
// device it is on: not while all sessions there are in doubt.
func (d *doubts) judge(hops map[netip.Addr][]kernel.Hop, sessions []bgp.SessionStatus, now time.Time) {
	known, stale := map[netip.Addr]bool{}, map[netip.Addr]bool{}
	worse, better := map[string]bool{}, map[string]bool{}
	for _, s := range sessions {
		known[s.Address] = true
		d.note(s, hops, now)
		switch _, lost := d.lost[s.Address]; {
		case s.State == bgp.Established:
			better[d.at[s.Address]] = true
		case lost && s.Restarting:
			stale[s.Address], worse[d.at[s.Address]] = true, true
		}
	}
	for a, way := range hops {
		if stale[a] {
			hops[a] = nil
			continue
		}
		hops[a] = slices.DeleteFunc(way, func(h kernel.Hop) bool { return worse[h.Link] && !better[h.Link] })
	}
	for a := range d.at {
		if !known[a] {
			delete(d.at, a)
			delete(d.lost, a)
		}
	}
}

// note begins and ends the doubt about one far end. A session that outlives two
// hold times was never interrupted.
func (d *doubts) note(s bgp.SessionStatus, hops map[netip.Addr][]kernel.Hop, now time.Time) {
	since, lost := d.lost[s.Address]
	up := s.State == bgp.Established
	way, asked := hops[s.Address]
	switch link := direct(way, s.Address); {
	case !asked:
	case link == "" && d.at[s.Address] != "" && (up || s.Restarting):
		d.lost[s.Address] = now
	case link != "":
		d.at[s.Address] = link
		alive := up && (s.Since.After(since) || now.Sub(since) > 2*max(s.Hold, time.Duration(fabric.BGPHold)))
		if lost && (alive || !up && !s.Restarting) {
			delete(d.lost, s.Address)
		}
	case !up && !s.Restarting:
		delete(d.lost, s.Address)
	}
}

// direct is the device on whose link an address is; empty: it is behind another
// router, or not to be reached.
func direct(way []kernel.Hop, a netip.Addr) string {
	for _, h := range way {
		if h.Gateway == a.WithZone("") {
			return h.Link
		}
	}
	return ""
}

package speaker

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

// plan is what GoBGP should have now: the sessions and ranges that can be had.
type plan struct {
	sessions map[string]bgp.Session
	addrs    map[string]netip.Addr
	ranges   map[netip.Prefix]bgp.Session
	parties  []*party
	keys     map[string]bool // of all sessions wanted
	rows     []rangeRow
}

// plan decides which sessions can be had, and puts the reasons of the others on
// the board.
func (s *Speaker) plan() *plan {
	p := &plan{sessions: map[string]bgp.Session{}, addrs: map[string]netip.Addr{}, ranges: map[netip.Prefix]bgp.Session{}}
	host, err := hostAddresses()
	if err != nil {
		s.log.WithError(err).Warn("the host's addresses cannot be read")
		s.pending = true
	}
	var names []string
	for _, w := range s.want.Sessions {
		if w.Interface != "" {
			names = append(names, w.Interface)
		}
	}
	s.links.keep(names)
	keys, far := map[string]bool{}, map[netip.Addr]string{}
	for _, w := range s.want.Sessions {
		keys[w.Key] = true
		addr, held := s.locate(w)
		if held == "" && far[addr] != "" {
			held = fmt.Sprintf("session %s has the same far end", far[addr])
		}
		s.board.put(w, s.asnOf(w), held)
		if held != "" {
			continue
		}
		far[addr] = w.Key
		p.sessions[w.Key], p.addrs[w.Key] = w, addr
		q := s.party(&w, netip.PrefixFrom(addr.WithZone(""), addr.BitLen()), host)
		s.board.remark(w.Key, muteWords(q))
		p.add(q)
	}
	var rows []rangeRow
	for _, r := range s.want.Ranges {
		if err := check(r.Template); err != nil {
			s.log.WithError(err).WithField("range", r.Prefix).Warn("no sessions are accepted from a range")
			continue
		}
		prefix := r.Prefix.Masked()
		p.ranges[prefix] = r.Template
		rows = append(rows, rangeRow{prefix: prefix, session: r.Template})
		p.add(s.party(&r.Template, prefix, host))
	}
	p.keys, p.rows = keys, rows
	return p
}

// add keeps the parties in order of precedence: an address before the ranges
// that hold it, a longer prefix before a shorter one.
func (p *plan) add(q *party) {
	at := len(p.parties)
	for at > 0 && p.parties[at-1].far.Bits() < q.far.Bits() && p.parties[at-1].far.Addr().BitLen() == q.far.Addr().BitLen() {
		at--
	}
	p.parties = slices.Insert(p.parties, at, q)
}

// locate finds a session's far end, or says why there can be no session now.
func (s *Speaker) locate(w bgp.Session) (addr netip.Addr, held string) {
	if err := check(w); err != nil {
		return addr, err.Error()
	}
	if w.Interface == "" {
		if !w.Address.IsValid() {
			return addr, "no address of the far end is known"
		}
		return w.Address.Unmap(), ""
	}
	found, why := s.links.neighbour(w.Interface)
	if have := s.sessions[w.Key]; have != nil {
		row, ok := s.board.byKey(w.Key)
		if !found.IsValid() || ok && stateWord(row.state) == bgp.Established && have.addr.Zone() == w.Interface {
			return have.addr, "" // the session itself knows better than the search
		}
	}
	return found, why
}

func (s *Speaker) asnOf(w bgp.Session) uint32 {
	if w.LocalASN != 0 {
		return w.LocalASN
	}
	return s.want.Global.ASN
}

func (s *Speaker) party(w *bgp.Session, far netip.Prefix, host addresses) *party {
	q := &party{Session: w, far: far, asn: s.asnOf(*w)}
	// A client of ours hears all. Between two reflectors go the routes of their
	// clients (RFC 4456, 6), of which GoBGP takes care; nobody else hears
	// anything that is not our own.
	q.tellExternal = s.want.Global.Transit || w.ReflectorClient
	q.tellInternal = q.tellExternal || w.ClusterID.IsValid() && !q.external()
	towards := far.Addr()
	if far.Bits() < towards.BitLen() {
		towards = towards.Next()
	}
	q.hops, q.mute = host.otherHops(towards, w)
	return q
}

// muteWords says why a session that is up does not tell all it should.
func muteWords(q *party) string {
	for _, f := range fabric.Families {
		if q.mute.Get(f) {
			return fmt.Sprintf("no %s routes are told: the session's interface has no %s address that could be their next hop", f, f)
		}
	}
	return ""
}

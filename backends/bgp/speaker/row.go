package speaker

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

// row is one session.
type row struct {
	session bgp.Session
	asn     uint32 // ours
	dynamic bool
	addr    netip.Addr
	added   time.Time
	held    string // why GoBGP was not told of it

	state     packet.FSMState
	since     time.Time
	remoteASN uint32
	routerID  netip.Addr
	flaps     uint64
	lastError string
	noted     bool   // lastError is of this life of the session
	refused   int    // OPENs that the far end answered with something else, in a row
	remark    string // what is wrong although the session is up
	drops     drops
	md5       string // why the password could not be set

	restarting bool // stale routes of the far end are kept
	graceful   bool // the far end has graceful restart, so it sends end-of-RIB
	overLimit  bool // more routes than it may, and closed for that
	lifted     bool // the limit is another one since
	own        bool // the far end turned out to be in our AS, and must not be
	hold       time.Duration
	families   fabric.PerFamily[bgp.FamilyStatus]
}

// drop puts a row back to idle.
func (r *row) drop(now time.Time) {
	if r.state == packet.BGP_FSM_ESTABLISHED {
		r.flaps++
	}
	r.state, r.since, r.restarting = packet.BGP_FSM_IDLE, now, false
	r.families = fabric.PerFamily[bgp.FamilyStatus]{}
}

func (r *row) establish(state apiutil.PeerState) {
	r.state = packet.BGP_FSM_ESTABLISHED
	r.remoteASN, r.routerID = state.PeerASN, state.RouterID
	r.noted, r.refused, r.restarting, r.graceful = false, 0, false, false
	r.own = r.session.RemoteASN == 0 && state.PeerASN == state.LocalASN
	offered := fabric.PerFamily[bool]{}
	multiprotocol := false
	for _, c := range state.RemoteCap {
		switch c := c.(type) {
		case *packet.CapMultiProtocol:
			multiprotocol = true
			if f, ok := ourFamily(c.CapValue); ok {
				offered.Set(f, true)
			}
		case *packet.CapGracefulRestart:
			r.graceful = true
		}
	}
	if !multiprotocol {
		offered.IPv4 = true // RFC 4760: what a speaker without the capability speaks
	}
	var lacks []string
	for _, f := range fabric.Families {
		status := r.families.Get(f)
		status.Negotiated, status.EndOfRIB = r.session.Families.Get(f) && offered.Get(f), false
		r.families.Set(f, status)
		if r.session.Families.Get(f) && !offered.Get(f) {
			lacks = append(lacks, f.String())
		}
	}
	if len(lacks) > 0 {
		r.lastError, r.noted = "wrong family: the far end does not offer "+strings.Join(lacks, " and ")+" unicast", true
	}
}

func (r *row) lost(state apiutil.PeerState) {
	r.flaps++
	if !r.noted {
		r.lastError = lostWords(state)
	}
	r.restarting = state.DisconnectReason == api.PeerState_DISCONNECT_REASON_GRACEFUL_RESTART
	for _, f := range fabric.Families {
		status := r.families.Get(f)
		status = bgp.FamilyStatus{Stale: status.Received}
		if !r.restarting {
			status.Stale = 0
		}
		r.families.Set(f, status)
	}
}

// statuses are all sessions for Speaker.Sessions.
func (b *board) statuses() []bgp.SessionStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]bgp.SessionStatus, 0, len(b.rows))
	for _, r := range b.rows {
		s := bgp.SessionStatus{
			Key: r.session.Key, Address: r.addr, Dynamic: r.dynamic, State: stateWord(r.state), Since: r.since, RemoteASN: r.remoteASN,
			RouterID: r.routerID, Flaps: r.flaps, LastError: r.lastError, Families: r.families, Hold: r.hold, Restarting: r.restarting,
		}
		if r.state == packet.BGP_FSM_ESTABLISHED && r.remark != "" {
			s.LastError = r.remark
		}
		if r.held != "" && r.session.HeldDown != "" {
			s.State = bgp.Held
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y bgp.SessionStatus) int { return cmp.Compare(x.Key, y.Key) })
	return out
}

func stateWord(s packet.FSMState) bgp.State {
	switch s {
	case packet.BGP_FSM_CONNECT:
		return "connect"
	case packet.BGP_FSM_ACTIVE:
		return "active"
	case packet.BGP_FSM_OPENSENT:
		return "opensent"
	case packet.BGP_FSM_OPENCONFIRM:
		return "openconfirm"
	case packet.BGP_FSM_ESTABLISHED:
		return bgp.Established
	}
	return "idle"
}

// up lists the rows that are established, as copies.
func (b *board) up() []row {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []row
	for _, r := range b.rows {
		if r.state == packet.BGP_FSM_ESTABLISHED {
			out = append(out, *r)
		}
	}
	return out
}

// byKey is a copy of a session's row.
func (b *board) byKey(key string) (row, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rows[key]
	if r == nil {
		return row{}, false
	}
	return *r, true
}

// keyOf is the key of the session with an address.
func (b *board) keyOf(addr netip.Addr) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.byAddr[addr.String()]; r != nil {
		return r.session.Key
	}
	return ""
}

// offenders are the sessions that must stay down for a while.
func (b *board) offenders() []row {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []row
	for _, r := range b.rows {
		if r.own || r.overLimit {
			out = append(out, *r)
		}
	}
	return out
}

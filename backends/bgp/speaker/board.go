package speaker

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

// board is what is known of each session. GoBGP's goroutines write to it with
// GoBGP's locks held, so it never calls GoBGP.
type board struct {
	mu     sync.Mutex // guards all fields and the rows
	rows   map[string]*row
	byAddr map[string]*row // by the address as GoBGP writes it
	ranges []rangeRow
	// parted are the last sessions out of a range that went, oldest first: one
	// that comes back goes on counting.
	parted []row
	drops  func() drops // reads the kernel's counters
}

func newBoard() *board {
	return &board{rows: map[string]*row{}, byAddr: map[string]*row{}, drops: readDrops}
}

// put adds a session or changes what is wanted of it.
func (b *board) put(s bgp.Session, asn uint32, held string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rows[s.Key]
	if r == nil {
		r = &row{added: time.Now(), since: time.Now(), addr: s.Address, drops: b.drops()}
		b.rows[s.Key] = r
	}
	r.lifted = r.lifted || r.session.MaxPrefixes != s.MaxPrefixes
	r.session, r.asn = s, asn
	if r.held != held {
		r.held, r.since = held, time.Now()
	}
	if held != "" {
		r.lastError = held
	}
}

// place says under which address GoBGP knows a session; an invalid one that it
// does not know it any more.
func (b *board) place(key string, addr netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rows[key]
	if r == nil {
		return
	}
	if b.byAddr[r.addr.String()] == r {
		delete(b.byAddr, r.addr.String())
	}
	if addr.IsValid() {
		r.addr, r.md5 = addr, ""
		b.byAddr[addr.String()] = r
		return
	}
	r.drop(time.Now())
}

// newLife puts all sessions back to the start, as GoBGP is; they get the time
// again to come up.
func (b *board) newLife() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	for key, r := range b.rows {
		if r.dynamic {
			delete(b.rows, key)
			delete(b.byAddr, r.addr.String())
			continue
		}
		r.added, r.own, r.overLimit, r.lifted = now, false, false, false
	}
}

// keep forgets all sessions but these.
func (b *board) keep(keys map[string]bool, ranges []rangeRow) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ranges = ranges
	for key, r := range b.rows {
		if r.dynamic {
			_, ok := b.rangeOf(r.addr)
			if ok {
				continue
			}
		} else if keys[key] {
			continue
		}
		delete(b.rows, key)
		if b.byAddr[r.addr.String()] == r {
			delete(b.byAddr, r.addr.String())
		}
	}
}

// connecting reports whether debug records of a session are worth looking at.
func (b *board) connecting(peer string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.byAddr[peer]
	return r != nil && r.state != packet.BGP_FSM_ESTABLISHED
}

// note takes a line of GoBGP's log that is about a session.
func (b *board) note(peer, message string, fields logrus.Fields) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if message == "failed to set md5" {
		b.noteMD5(peer, text(fields["Err"]))
		return
	}
	r := b.byAddr[peer]
	if r == nil {
		return
	}
	if words := r.words(message, fields, b.drops); words != "" {
		r.lastError, r.noted = words, true
	}
}

func (b *board) noteMD5(peer, why string) {
	if r := b.byAddr[peer]; r != nil {
		r.md5 = why
	}
	for i := range b.ranges {
		if b.ranges[i].prefix.String() == peer {
			b.ranges[i].md5 = why
		}
	}
}

// md5Failed says why the password of a session or range (a prefix) could not
// be set; GoBGP goes on without one.
func (b *board) md5Failed(peer string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.byAddr[peer]; r != nil {
		return r.md5
	}
	for _, r := range b.ranges {
		if r.prefix.String() == peer {
			return r.md5
		}
	}
	return ""
}

// event takes a change of state.
func (b *board) event(e *apiutil.WatchEventMessage_PeerEvent) {
	if e.Type != apiutil.PEER_EVENT_STATE && e.Type != apiutil.PEER_EVENT_INIT {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	state := e.Peer.State
	r := b.find(state.NeighborAddress)
	if r == nil {
		return
	}
	before := r.state
	now := time.Now()
	if state.SessionState != before {
		r.since = now
	}
	switch {
	case state.SessionState == packet.BGP_FSM_ESTABLISHED:
		if before != packet.BGP_FSM_ESTABLISHED {
			r.establish(state)
		}
	case before == packet.BGP_FSM_ESTABLISHED:
		r.lost(state)
	case before == packet.BGP_FSM_OPENCONFIRM && state.DisconnectReason == api.PeerState_DISCONNECT_REASON_INVALID_MSG:
		// Once may be the end of a connection collision (RFC 4271, 6.8).
		if r.refused++; r.refused > 1 {
			r.lastError, r.noted = r.refusedWords(), true
		}
	}
	if state.DisconnectReason == api.PeerState_DISCONNECT_REASON_RESTART_TIMER_EXPIRED {
		r.restarting = false
	}
	r.state = state.SessionState
	if r.dynamic && r.state == packet.BGP_FSM_IDLE && !r.restarting {
		b.part(r)
	}
}

// endOfRIB takes a peer's end-of-RIB.
func (b *board) endOfRIB(addr netip.Addr, f fabric.Family) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.find(addr); r != nil {
		status := r.families.Get(f)
		status.EndOfRIB, status.Stale = true, 0
		r.families.Set(f, status)
	}
}

// synced is Speaker.Synced for now; grace is what a session gets to come up.
func (b *board) synced(f fabric.Family, grace time.Duration, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	up := false
	for _, r := range b.rows {
		status := r.families.Get(f)
		switch {
		case r.state != packet.BGP_FSM_ESTABLISHED:
			if !r.dynamic && now.Sub(r.added) < grace {
				return false
			}
		case status.Negotiated && !status.EndOfRIB && (r.graceful || now.Sub(r.since) < grace):
			// Who has no graceful restart need not send end-of-RIB, and gets time.
			return false
		default:
			up = true
		}
	}
	return up
}

// count stores what the census found.
func (b *board) count(key string, hold time.Duration, counts fabric.PerFamily[bgp.FamilyStatus]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rows[key]
	if r == nil || r.state != packet.BGP_FSM_ESTABLISHED {
		return
	}
	r.hold = hold
	for _, f := range fabric.Families {
		status, c := r.families.Get(f), counts.Get(f)
		status.Received, status.Accepted, status.Rejected, status.Advertised, status.Stale = c.Received, c.Accepted, c.Rejected, c.Advertised, c.Stale
		r.families.Set(f, status)
	}
}

// mistaken takes note of a reason that the speaker itself found.
func (b *board) mistaken(key, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.rows[key]; r != nil {
		r.lastError, r.noted = why, true
	}
}

// remark notes what is wrong with a session while it is up; empty: nothing.
func (b *board) remark(key, what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.rows[key]; r != nil {
		r.remark = what
	}
}

// pardon lets a session try again.
func (b *board) pardon(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.rows[key]; r != nil {
		r.own, r.overLimit, r.lifted = false, false, false
	}
}

// stuck are the sessions whose connection is open for long without a session,
// with the reason on the board.
func (b *board) stuck(after time.Duration) []row {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []row
	for _, r := range b.rows {
		if r.state != packet.BGP_FSM_OPENSENT && r.state != packet.BGP_FSM_OPENCONFIRM || time.Since(r.since) < after {
			continue
		}
		r.since = time.Now() // not again at once
		r.lastError, r.noted = r.silentWords(b.drops()), true
		out = append(out, *r)
	}
	return out
}

// exceeds notes that a session has more routes than it may.
func (b *board) exceeds(key string, f fabric.Family) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.rows[key]; r != nil {
		r.overLimit, r.lifted = true, false
		r.lastError, r.noted = fmt.Sprintf("maximum number of prefixes exceeded: more than %d %s routes", r.session.MaxPrefixes, f), true
	}
}

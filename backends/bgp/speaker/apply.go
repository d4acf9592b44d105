package speaker

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"

	"github.com/weft-net/weft/backends/bgp"
)

// pathBatch is how many routes go to GoBGP in one call: it holds its lock over
// each call, and 256 are twice as fast as one at a time.
const pathBatch = 256

// converge carries out the difference between what is wanted and what GoBGP
// has. The order matters: policies before routes, routes before the watch, the
// watch before peers. Whoever is configured before the routes are there hears
// an end-of-RIB that is too early, and drops what we announced before a restart.
func (s *Speaker) converge(ctx context.Context) error {
	s.pending = false
	fresh := s.server == nil
	if !fresh && restarts(s.server.global, s.want.Global) {
		s.replace()
		fresh = true
	}
	if fresh {
		if err := s.start(ctx); err != nil {
			s.pending = true
			return err
		}
	}
	s.server.global = s.want.Global
	s.rib.setMost(s.want.Global.Multipath)
	p := s.plan()
	before := s.keys
	if err := s.setPolicies(ctx, p); err != nil {
		return err
	}
	s.removePeers(ctx, p)
	s.board.keep(p.keys, p.rows)
	if err := s.announce(); err != nil {
		return err
	}
	if fresh {
		if err := s.watch(); err != nil {
			return err
		}
	}
	s.applySessions(ctx, p)
	s.applyRanges(ctx, p)
	s.refresh(ctx, before)
	s.monitor(ctx)
	return nil
}

// setPolicies hands GoBGP the policies of all sessions, if they changed: they
// are one object to it, replaced at once.
func (s *Speaker) setPolicies(ctx context.Context, p *plan) error {
	var sign strings.Builder
	var prepends strings.Builder
	for _, a := range s.want.Announcements {
		if a.Prepend > 0 {
			fmt.Fprintf(&prepends, "%s %d;", a.Prefix, a.Prepend)
		}
	}
	keys := make(map[string]string, 2*len(p.parties))
	for _, q := range p.parties {
		keys["in "+q.far.String()] = q.importKey()
		keys["out "+q.far.String()] = q.exportKey() + prepends.String()
		fmt.Fprintf(&sign, "%s %s | %s\n", q.far, q.importKey(), q.exportKey())
	}
	sign.WriteString(prepends.String())
	if sign.String() == s.policies {
		return nil
	}
	if err := s.server.SetPolicies(ctx, compile(p.parties, s.want.Announcements)); err != nil {
		s.pending = true
		return fmt.Errorf("policies: %w", err)
	}
	s.policies, s.keys = sign.String(), keys
	s.census.again()
	return nil
}

// refresh runs the routes of sessions whose rules changed through them again,
// with no word to the far end but the routes that are different now.
func (s *Speaker) refresh(ctx context.Context, before map[string]string) {
	for _, r := range s.board.up() {
		far := s.farOf(r)
		for way, direction := range map[string]api.ResetPeerRequest_Direction{
			"in ": api.ResetPeerRequest_DIRECTION_IN, "out ": api.ResetPeerRequest_DIRECTION_OUT,
		} {
			key := way + far
			if old, ok := before[key]; !ok || old == s.keys[key] {
				continue
			}
			err := s.server.ResetPeer(ctx, &api.ResetPeerRequest{Address: r.addr.String(), Soft: true, Direction: direction})
			if err != nil { // the session has just gone
				s.log.WithError(err).WithField("session", r.session.Key).Debug("routes are not evaluated again")
			}
		}
	}
}

// farOf is the name under which the policies know a session.
func (s *Speaker) farOf(r row) string {
	if r.dynamic {
		if from, ok := s.board.rangeFor(r.addr); ok {
			return from.String()
		}
	}
	return netip.PrefixFrom(r.addr.WithZone(""), r.addr.BitLen()).String()
}

// announce adds, changes and withdraws our own routes.
func (s *Speaker) announce() error {
	wanted := make(map[netip.Prefix]bgp.Announcement, len(s.want.Announcements))
	var add []*apiutil.Path
	for _, a := range s.want.Announcements {
		prefix := a.Prefix.Masked()
		wanted[prefix] = a
		if have, ok := s.announced[prefix]; ok && reflect.DeepEqual(have.Attributes, a.Attributes) {
			continue
		}
		path, err := announcementPath(a)
		if err != nil {
			return fmt.Errorf("announce %s: %w", prefix, err)
		}
		add = append(add, path)
	}
	for batch := range slices.Chunk(add, pathBatch) {
		if _, err := s.server.AddPath(apiutil.AddPathRequest{Paths: batch}); err != nil {
			s.pending = true
			return fmt.Errorf("announce: %w", err)
		}
	}
	var gone []*apiutil.Path
	for prefix, a := range s.announced {
		if _, ok := wanted[prefix]; ok {
			continue
		}
		path, err := announcementPath(a)
		if err != nil {
			return fmt.Errorf("withdraw %s: %w", prefix, err)
		}
		gone = append(gone, path)
	}
	for batch := range slices.Chunk(gone, pathBatch) {
		if err := s.server.DeletePath(apiutil.DeletePathRequest{Paths: batch}); err != nil {
			s.pending = true
			return fmt.Errorf("withdraw: %w", err)
		}
	}
	if len(add)+len(gone) > 0 {
		s.census.again()
	}
	s.announced = wanted
	return nil
}

// applySessions adds sessions and changes those that are there.
func (s *Speaker) applySessions(ctx context.Context, p *plan) {
	for _, key := range slices.Sorted(maps.Keys(p.sessions)) {
		w := told(s.want.Global, p.sessions[key])
		have := s.sessions[key]
		if have == nil {
			s.addPeer(ctx, key, p.addrs[key], w)
			continue
		}
		if reflect.DeepEqual(have.applied, w) {
			continue
		}
		if row, _ := s.board.byKey(key); stateWord(row.state) == bgp.Established || row.restarting {
			s.pending = true // timers count from the next session on
			continue
		}
		s.updatePeer(ctx, key, have, w)
	}
}

func (s *Speaker) addPeer(ctx context.Context, key string, addr netip.Addr, w wire) {
	if time.Now().Before(s.penalties[key]) {
		s.pending = true
		return
	}
	s.board.place(key, addr)
	ses := &session{applied: w, addr: addr}
	restarting := w.restart > 0 && time.Since(s.server.started) < w.restart
	err := s.server.AddPeer(ctx, &api.AddPeerRequest{Peer: w.peer(addr, restarting)})
	if err == nil {
		s.sessions[key] = ses
		if why := s.board.md5Failed(addr.String()); why != "" {
			s.removePeer(ctx, key, ses)
			err = fmt.Errorf("the kernel takes no MD5 password: %s", why)
		}
	}
	if err != nil {
		s.board.place(key, netip.Addr{})
		s.board.mistaken(key, "cannot be configured: "+err.Error())
		s.penalties[key] = time.Now().Add(retryAfter)
		s.pending = true
	}
}

// updatePeer changes the timers of a session that is down. While it is up they
// would not count, and GoBGP would forget what the far end said of graceful
// restart: its next restart would cost its routes.
func (s *Speaker) updatePeer(ctx context.Context, key string, have *session, w wire) {
	if _, err := s.server.UpdatePeer(ctx, &api.UpdatePeerRequest{Peer: w.peer(have.addr, false)}); err != nil {
		s.board.mistaken(key, "cannot be changed: "+err.Error())
		s.pending = true
		return
	}
	have.applied = w
}

// removePeers ends the sessions that are not wanted, and those that must be
// made anew.
func (s *Speaker) removePeers(ctx context.Context, p *plan) {
	for key, have := range s.sessions {
		w, wanted := p.sessions[key]
		if wanted && p.addrs[key] == have.addr && !have.applied.resets(told(s.want.Global, w)) {
			continue
		}
		s.removePeer(ctx, key, have)
	}
	for prefix, have := range s.ranges {
		w, wanted := p.ranges[prefix]
		if wanted && !have.applied.resets(told(s.want.Global, w)) {
			continue
		}
		s.removeRange(ctx, prefix, have)
	}
}

// removePeer ends a session. GoBGP leaves the password of a deleted peer on its
// listener, where it would shut out the same peer without one: so the password
// is taken off first, with the session down.
func (s *Speaker) removePeer(ctx context.Context, key string, have *session) {
	if have.applied.Password != "" {
		bare := have.applied
		bare.Password = ""
		peer := bare.peer(have.addr, false)
		peer.Conf.AdminDown = true
		if _, err := s.server.UpdatePeer(ctx, &api.UpdatePeerRequest{Peer: peer}); err != nil {
			s.log.WithError(err).WithField("session", key).Warn("the password of a session stays on the listener")
		}
	}
	if err := s.server.DeletePeer(ctx, &api.DeletePeerRequest{Address: have.addr.String()}); err != nil {
		s.log.WithError(err).WithField("session", key).Warn("session cannot be removed")
	}
	delete(s.sessions, key)
	delete(s.penalties, key)
	s.board.place(key, netip.Addr{})
}

func (s *Speaker) applyRanges(ctx context.Context, p *plan) {
	for prefix, t := range p.ranges {
		w := told(s.want.Global, t)
		have := s.ranges[prefix]
		var err error
		switch {
		case have == nil:
			err = s.addRange(ctx, prefix, w)
		case !reflect.DeepEqual(have.applied, w):
			// Counts for sessions that come from now on.
			if _, err = s.server.UpdatePeerGroup(ctx, &api.UpdatePeerGroupRequest{PeerGroup: w.group(prefix.String())}); err == nil {
				have.applied = w
			}
		}
		if err != nil {
			s.log.WithError(err).WithField("range", prefix).Warn("no sessions are accepted from a range")
			s.pending = true
		}
	}
}

func (s *Speaker) addRange(ctx context.Context, prefix netip.Prefix, w wire) error {
	name := prefix.String()
	if err := s.server.AddPeerGroup(ctx, &api.AddPeerGroupRequest{PeerGroup: w.group(name)}); err != nil {
		return err
	}
	have := &session{applied: w}
	s.ranges[prefix] = have
	err := s.server.AddDynamicNeighbor(ctx, &api.AddDynamicNeighborRequest{DynamicNeighbor: &api.DynamicNeighbor{Prefix: name, PeerGroup: name}})
	if err == nil {
		if why := s.board.md5Failed(name); why != "" {
			err = fmt.Errorf("the kernel takes no MD5 password: %s", why)
		}
	}
	if err != nil {
		s.removeRange(ctx, prefix, have)
	}
	return err
}

func (s *Speaker) removeRange(ctx context.Context, prefix netip.Prefix, _ *session) {
	name := prefix.String()
	log := s.log.WithField("range", prefix)
	if err := s.server.DeleteDynamicNeighbor(ctx, &api.DeleteDynamicNeighborRequest{Prefix: name, PeerGroup: name}); err != nil {
		log.WithError(err).Warn("range cannot be removed")
	}
	for _, addr := range s.board.members(prefix) {
		if err := s.server.DeletePeer(ctx, &api.DeletePeerRequest{Address: addr.String()}); err != nil {
			log.WithError(err).Debug("session of a range is gone already")
		}
	}
	if err := s.server.DeletePeerGroup(ctx, &api.DeletePeerGroupRequest{Name: name}); err != nil {
		log.WithError(err).Warn("range cannot be removed")
	}
	delete(s.ranges, prefix)
}

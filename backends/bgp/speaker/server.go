package speaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/server"

	"github.com/weft-net/weft/backends/bgp"
)

// start begins a life of GoBGP: it listens, has policies that accept nothing,
// and no peers.
func (s *Speaker) start(ctx context.Context) error {
	g := s.want.Global
	if g.ASN == 0 || !g.RouterID.Is4() || g.RouterID.IsUnspecified() {
		return fmt.Errorf("start the speaker: AS %d and router id %s are needed, the id in IPv4's form", g.ASN, g.RouterID)
	}
	closing := &atomic.Bool{}
	h := newHandler(s.log, s.board)
	h.closing = closing
	b := &server{
		BgpServer: gobgp.NewBgpServer(gobgp.LoggerOption(slog.New(h), nil)),
		global:    g, started: time.Now(), closing: closing, served: make(chan struct{}), unwatch: func() {},
	}
	go func() {
		defer close(b.served)
		b.Serve()
	}()
	if err := b.begin(ctx, s.life.Load() == 0); err != nil {
		b.stop()
		return fmt.Errorf("start the speaker: %w", err)
	}
	s.server = b
	s.policies, s.keys = "", map[string]string{}
	return nil
}

func (b *server) begin(ctx context.Context, first bool) error {
	b.swept = first // nothing of an earlier life to drop
	err := b.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: b.global.ASN, RouterId: b.global.RouterID.String(), ListenPort: int32(b.global.Port),
		ListenAddresses: listenAddresses(b.global.Listen), UseMultiplePaths: true,
	}})
	if err != nil {
		return err
	}
	if err := b.SetPolicies(ctx, compile(nil, nil)); err != nil {
		return fmt.Errorf("policies: %w", err)
	}
	for name, direction := range map[string]api.PolicyDirection{
		importPolicy: api.PolicyDirection_POLICY_DIRECTION_IMPORT,
		exportPolicy: api.PolicyDirection_POLICY_DIRECTION_EXPORT,
	} {
		err := b.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
			Name: "global", Direction: direction, Policies: []*api.Policy{{Name: name}},
			DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
		}})
		if err != nil {
			return fmt.Errorf("%s policy: %w", name, err)
		}
	}
	return nil
}

// listenAddresses are those of both families where none are given, IPv6 only
// if the kernel has it.
func listenAddresses(want []netip.Addr) []string {
	if len(want) == 0 {
		want = []netip.Addr{netip.IPv4Unspecified()}
		if _, err := os.Stat("/proc/self/net/if_inet6"); err == nil {
			want = append(want, netip.IPv6Unspecified())
		}
	}
	out := make([]string, len(want))
	for i, a := range want {
		out[i] = a.String()
	}
	return out
}

// watch begins to hear of routes and sessions. The announcements are there
// already, the peers are not.
func (s *Speaker) watch() error {
	ctx, stop := context.WithCancel(context.Background())
	s.server.unwatch = stop
	life := s.life.Load()
	heard := func(f func()) {
		if s.life.Load() == life {
			f()
		}
	}
	err := s.server.WatchEvent(ctx, gobgp.WatchEventMessageCallbacks{
		OnBestPath: func(paths []*apiutil.Path, _ time.Time) {
			if s.rib.update(paths, life) {
				s.kick()
			}
		},
		OnPathEor: func(p *apiutil.Path, _ time.Time) {
			heard(func() {
				if f, ok := ourFamily(p.Family); ok {
					s.board.endOfRIB(p.PeerAddress, f)
					s.wake()
				}
			})
		},
		OnPeerUpdate: func(e *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
			heard(func() {
				s.board.event(e)
				s.kick()
				s.wake()
			})
		},
	}, gobgp.WatchBestPath(true), gobgp.WatchPeer(), gobgp.WatchEor(true))
	if err != nil {
		return fmt.Errorf("watch the routes: %w", err)
	}
	return nil
}

// stop ends a life of GoBGP without a NOTIFICATION where graceful restart
// allows, and waits for its goroutines.
func (b *server) stop() {
	b.closing.Store(true)
	b.unwatch()
	if err := b.StopBgp(context.Background(), &api.StopBgpRequest{AllowGracefulRestart: true}); err == nil {
		<-b.served
	}
	b.Stop() // its BFD part; the rest is stopped already
}

// replace ends the running life so that another can begin with another AS,
// router id or listener. What was learnt stays in force until the new life's
// peers have told all.
func (s *Speaker) replace() {
	s.log.WithField("asn", s.want.Global.ASN).Info("the speaker starts anew: what all sessions share has changed")
	s.rib.newLife(s.life.Add(1))
	for key := range s.sessions {
		s.board.place(key, netip.Addr{})
	}
	s.board.newLife()
	clear(s.sessions)
	clear(s.ranges)
	clear(s.announced)
	clear(s.stations)
	clear(s.penalties)
	clear(s.reopen)
	s.server.stop()
	s.server = nil
}

// restarts reports whether a change of what all sessions share needs a new
// life; bgp.Global says which fields do.
func restarts(a, b bgp.Global) bool {
	return a.ASN != b.ASN || a.RouterID != b.RouterID || a.Port != b.Port || !slices.Equal(a.Listen, b.Listen)
}

// withdrawn is how long Shutdown waits for the UPDATEs that withdraw to be out,
// and closed for the sessions to be gone. The far ends forget our routes with
// the NOTIFICATION anyway.
const (
	withdrawnIn = time.Second
	closedIn    = 3 * time.Second
	shutdownWhy = "the host shuts down"
)

// Shutdown withdraws everything, tells the peers that this is an administrative
// shutdown (RFC 9003) and stops. No peer keeps a route of ours.
func (s *Speaker) Shutdown(ctx context.Context) error {
	if !s.end() {
		return ErrEnded
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.server
	if b == nil {
		return nil
	}
	defer func() {
		b.stop()
		s.server = nil
	}()
	var errs []error
	if len(s.announced) > 0 {
		if err := b.DeletePath(apiutil.DeletePathRequest{DeleteAll: true}); err != nil {
			errs = append(errs, fmt.Errorf("withdraw: %w", err))
		}
		b.settle(ctx, withdrawnIn)
	}
	for _, r := range s.board.up() {
		if err := b.DisablePeer(ctx, &api.DisablePeerRequest{Address: r.addr.String(), Communication: shutdownWhy}); err != nil {
			errs = append(errs, fmt.Errorf("close session %s: %w", r.session.Key, err))
		}
	}
	pollFor(ctx, closedIn, func() bool { return len(s.board.up()) == 0 })
	return errors.Join(errs...)
}

// settle waits until no UPDATE has been sent for a moment.
func (b *server) settle(ctx context.Context, atMost time.Duration) {
	last, still := uint64(0), 0
	pollFor(ctx, atMost, func() bool {
		var sent uint64
		err := b.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) { sent += p.GetState().GetMessages().GetSent().GetUpdate() })
		if err != nil || sent != last {
			last, still = sent, 0
			return false
		}
		still++
		return still > 3
	})
}

// pollFor asks until the answer is yes, the time is up or ctx ends.
func pollFor(ctx context.Context, atMost time.Duration, done func() bool) {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// stationsAfter is how long a station rests that cannot be had: its name may
// have to be looked up, which takes time that sessions should not wait for.
const stationsAfter = 30 * time.Second

// monitor keeps the BMP stations (RFC 7854) as they are wanted. One that cannot
// be had costs only itself.
func (s *Speaker) monitor(ctx context.Context) {
	for name, at := range s.stations {
		if slices.Contains(s.want.Global.BMP, name) {
			continue
		}
		if err := s.server.DeleteBmp(ctx, &api.DeleteBmpRequest{Address: at.Addr().String(), Port: uint32(at.Port())}); err != nil {
			s.log.WithError(err).WithField("station", name).Warn("BMP station cannot be removed")
		}
		delete(s.stations, name)
	}
	for _, name := range s.want.Global.BMP {
		if _, ok := s.stations[name]; ok {
			continue
		}
		s.pending = true // unless it is had now, another time
		if time.Now().Before(s.penalties["bmp "+name]) {
			continue
		}
		at, err := resolve(ctx, name)
		if err == nil {
			err = s.server.AddBmp(ctx, &api.AddBmpRequest{
				Address: at.Addr().String(), Port: uint32(at.Port()), Policy: api.AddBmpRequest_MONITORING_POLICY_BOTH, SysName: "weft",
			})
		}
		if err != nil {
			s.log.WithError(err).WithField("station", name).Debug("BMP station cannot be used yet")
			s.penalties["bmp "+name] = time.Now().Add(stationsAfter)
			continue
		}
		s.stations[name] = at
	}
}

// resolve turns host:port into an address; GoBGP takes no names.
func resolve(ctx context.Context, station string) (netip.AddrPort, error) {
	if at, err := netip.ParseAddrPort(station); err == nil {
		return at, nil
	}
	host, port, err := net.SplitHostPort(station)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q: %w", port, err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), uint16(number)), nil
}

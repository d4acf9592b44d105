package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/agent/migrate"
	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/agent/routing"
	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/backends/vxlan"
	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/version"
	"github.com/weft-net/weft/kernel"
	"github.com/weft-net/weft/store"
)

// Options are what main gives the agent.
type Options struct {
	Config *config.Node
	Log    *logrus.Entry
	// Notify tells the service manager (sd_notify(3)); nil: there is none.
	Notify func(state string)
	// Learnt is told how many routes of the peers the loop took in at once; nil:
	// nobody asks. It must not block.
	Learnt func(routes int)
}

// agent is one running weftd. Its fields are set before the tasks start and do
// not change; the parts keep their own state.
type agent struct {
	cfg     *config.Node
	log     *logrus.Entry
	self    fabric.Node
	started time.Time

	inbox   *inbox
	loop    *loop
	routing *routing.Task
	prober  *probe.Prober
	migrate *migrate.Task
	hops    *kernel.Neighbours
	pods    *podWatch
	swept   swept
	guards  chan struct{} // one element: look at the guards of pods
	grower  *grower
	session *store.Session
	metrics *metrics
	watch   *kernel.UnderlayWatch
	notify  *notifier
	learnt  func(routes int) // may be nil
	answers answersFor       // the loop's goroutine only
	// programmed is that of the last round; the loop's goroutine only.
	programmed *fabric.Snapshot

	located chan struct{} // closed when an underlay was found for the first time
	locate  sync.Once
	telling sync.Mutex // held while the node's own record is put together
}

// Run is weftd: it returns nil when ctx ends and an error when the agent
// cannot work here at all. The kernel keeps what was programmed.
func Run(ctx context.Context, o Options) error {
	unlock, err := prepare(o.Config)
	if err != nil {
		return err
	}
	defer unlock()
	host, err := kernel.Open(kernel.Options{})
	if err != nil {
		return err
	}
	defer host.Close()
	a := &agent{cfg: o.Config, log: o.Log, started: time.Now(), inbox: newInbox(), metrics: newMetrics(), notify: &notifier{send: o.Notify}, learnt: o.Learnt, located: make(chan struct{})}
	db, err := store.Open(a.storeConfig())
	if err != nil {
		return err
	}
	defer db.Close()
	if a.watch, err = kernel.NewUnderlayWatch(); err != nil {
		return err
	}
	if a.hops, err = kernel.NewNeighbours(); err != nil {
		return err
	}
	defer a.hops.Close()
	if err := a.open(host, db); err != nil {
		return err
	}
	a.log.WithFields(logrus.Fields{"node": a.self.Name, "id": a.self.ID, "version": a.self.Version}).Info("started")
	err = a.tasks(ctx)
	a.log.Info("stopped; the data path stays")
	return err
}

// open wires the parts together.
func (a *agent) open(host *kernel.Host, db *store.Store) error {
	instance, err := instance()
	if err != nil {
		return err
	}
	a.self = fabric.Node{
		Name: a.cfg.NodeName, ID: a.cfg.NodeID, Version: version.String(),
		VTEPMAC: vxlan.VTEPMAC(a.cfg.NodeID), Receives: receives(nil), Labels: a.cfg.Labels, Features: features(),
	}
	a.session = db.NewSession(store.SessionOptions{
		Self: a.self, Instance: instance, CacheFile: filepath.Join(a.cfg.StateDir, "snapshot.json"),
		Snapshots: a.takeSnapshot, Lease: a.inbox.setLease, Log: a.log,
	})
	a.routing = routing.New(routing.Options{
		Log: a.log, Self: a.self, File: a.cfg.BGPFile, RunDir: a.cfg.RunDir,
		Inputs: a.routingInputs, Changed: (&pace{every: takeEvery, call: a.inbox.nudge}).do, Lock: a.session.Lock, ReportDrain: a.session.ReportDrain,
	})
	a.openMigrations()
	a.pods, a.guards = newPodWatch(a.log, a.cfg.RunDir), make(chan struct{}, 1)
	a.grower = &grower{
		log: a.log, in: a.inbox, pods: a.pods.listen(), news: make(chan struct{}, 1), session: a.session, own: a.ownSubnets, clock: time.Now,
	}
	a.inbox.now.growth = &growth{}
	a.inbox.also = func() { a.routing.Kick(); a.migrate.Kick(); a.grower.kick() }
	a.loop = &loop{
		log: a.log, host: host, in: a.inbox,
		files: &nodeFiles{node: a.self.Name, runDir: a.cfg.RunDir, cni: a.cfg.CNI},
		want: wanted{
			host: host, ways: newWays(a.self), learnt: &learnt{from: a.routing, host: host, took: a.learnt},
			input: backends.Input{Self: a.self.ID, Subnets: earlierSubnets(a.cfg.RunDir)},
		},
		repaired: map[string]uint64{}, asks: make(chan func()),
		changed:  a.afterRound,
		observed: func(took time.Duration) { a.metrics.duration.Observe(took.Seconds()) },
	}
	a.metrics.registry.MustRegister(a)
	a.openProber()
	return nil
}

// openProber makes the loop and the prober know each other.
func (a *agent) openProber() {
	ways := a.loop.want.ways
	nudge := &pace{every: hearEvery, call: a.inbox.nudge}
	a.prober = probe.New(probe.Options{
		Log: a.log, Port: a.probePort, Neighbours: a.hops, Known: ways.known.known,
		Changed: func() { ways.watch.heard.Store(true); nudge.do() },
	})
	ways.watch.prober, ways.verdict = a.prober, a.prober.Verdict
}

// probePort is that of the fabric's specification, 0: the usual.
func (a *agent) probePort() uint16 {
	if in := a.inbox.take(); in.snapshot != nil && in.snapshot.Spec != nil {
		return in.snapshot.Spec.Probe.Port
	}
	return 0
}

// tasks runs everything until ctx ends or one task fails.
func (a *agent) tasks(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	a.findUnderlay()
	g.Go(func() error { return a.loop.run(ctx) })
	g.Go(func() error { return a.watch.Run(ctx, a.findUnderlay) })
	g.Go(func() error { return a.joinFabric(ctx) })
	g.Go(func() error { return a.routing.Run(ctx) })
	g.Go(func() error { return a.probePeers(ctx) })
	g.Go(func() error { return a.prober.Run(ctx) })
	g.Go(func() error { return a.migrates(ctx) })
	g.Go(func() error { return a.serveControl(ctx) })
	g.Go(func() error { return a.serveHealth(ctx) })
	g.Go(func() error { return a.sweep(ctx) })
	g.Go(func() error { return a.watchGuards(ctx) })
	g.Go(func() error { return a.pods.run(ctx) })
	g.Go(func() error { return a.grow(ctx) })
	return g.Wait()
}

// joinFabric starts the store's session once there is an address that other
// hosts can be told.
func (a *agent) joinFabric(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.located:
		return a.session.Run(ctx)
	}
}

// findUnderlay looks where packets leave and tells the loop and the store.
func (a *agent) findUnderlay() {
	q := a.cfg.Underlay
	u, err := kernel.FindUnderlay(kernel.UnderlayQuery{Interface: q.Interface, Address: q.Address, Reach: q.Reach})
	before := a.inbox.take()
	a.inbox.setUnderlay(u, err)
	switch {
	case err != nil && before.noUnderlay != err.Error():
		a.log.WithError(err).Warn("underlay not found; what was known of it stays in force")
	case err == nil && (before.underlay.Addrs != u.Addrs || before.underlay.MTU != u.MTU):
		a.log.WithFields(logrus.Fields{"interface": u.Interface, "ipv4": u.Addrs.IPv4, "ipv6": u.Addrs.IPv6, "mtu": u.MTU}).Info("underlay")
	}
	if err == nil {
		a.describe()
		a.locate.Do(func() { close(a.located) })
	}
}

// describe tells the fabric what is known of this node now.
func (a *agent) describe() {
	a.telling.Lock()
	defer a.telling.Unlock()
	in := a.inbox.take()
	self := a.self
	self.Underlay, self.MTU, self.Receives = in.underlay.Addrs, in.underlay.MTU, receives(in.snapshot)
	a.session.SetSelf(self)
}

// receives lists the paths by which a node takes packets: all of which some node
// may send by, whatever this one does itself. Until it is known which these are,
// they are those of a fabric with an overlay.
func receives(s *fabric.Snapshot) (out []fabric.PathKind) {
	known := s != nil && s.Spec != nil
	if !known || slices.ContainsFunc(s.Plans(), func(p fabric.Plan) bool { return p.Uses(s.Spec.PathRules, fabric.PathVXLAN) }) {
		out = append(out, fabric.PathVXLAN)
	}
	out = append(out, fabric.PathDirect)
	if known && s.Routes() {
		out = append(out, fabric.PathBGP)
	}
	return out
}

// takeSnapshot hands a snapshot to the loop, and says what this node receives
// where the fabric's plans are others than before.
func (a *agent) takeSnapshot(s *fabric.Snapshot) {
	s = understood(s)
	before := a.inbox.take()
	a.inbox.setSnapshot(s)
	if s.Spec == nil || before.underlay.MTU == 0 {
		return
	}
	if !slices.Equal(receives(before.snapshot), receives(s)) {
		a.describe()
	}
}

// afterRound passes on what a round of the loop found.
func (a *agent) afterRound(s *summary) {
	a.notify.round(s)
	if a.programmed != s.programmed {
		a.programmed = s.programmed
		a.migrate.Kick()
	}
	if own := (answersFor{s.known, s.own}); !own.equal(a.answers) {
		a.answers = own
		a.routing.Kick()
	}
}

// answersFor are the subnets that the loop says this node answers for.
type answersFor struct {
	known   bool
	subnets []netip.Prefix
}

func (a answersFor) equal(b answersFor) bool {
	return a.known == b.known && slices.Equal(a.subnets, b.subnets)
}

// routingInputs are what the routing task computes with.
func (a *agent) routingInputs() routing.Inputs {
	in := a.inbox.take()
	out := routing.Inputs{Snapshot: in.snapshot, Index: in.lease.Index, Underlay: in.underlay}
	if out.Index == 0 && in.snapshot != nil { // before the claim is renewed
		if self := in.snapshot.Peer(a.self.ID); self != nil {
			out.Index = self.Index
		}
	}
	if s := a.loop.summary.Load(); s != nil {
		out.Own, out.OwnKnown = s.own, s.known
	}
	return out
}

// probePeers watches over peers whose agents are gone. Without raw sockets
// nobody is ever called down.
func (a *agent) probePeers(ctx context.Context) error {
	echo, err := newEcho()
	if err != nil {
		a.log.WithError(err).Warn("peers cannot be probed; routes to dead hosts will not turn unreachable")
		<-ctx.Done()
		return nil
	}
	live := &liveness{
		log: a.log, self: a.self.ID, ping: echo, set: a.inbox.setDown,
		snapshot: func() *fabric.Snapshot { return a.inbox.take().snapshot },
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return echo.run(ctx) })
	g.Go(func() error { return live.run(ctx) })
	return g.Wait()
}

func (a *agent) storeConfig() store.Config {
	e := a.cfg.Etcd
	return store.Config{
		Endpoints: e.Endpoints, Prefix: e.Prefix, TLS: e.TLS, Username: e.Username, PasswordFile: e.PasswordFile,
		DialTimeout: e.DialTimeout, Log: a.log, Requests: a.metrics.request,
	}
}

// prepare makes the directories and takes the lock that keeps a second agent
// out of the same run directory.
func prepare(cfg *config.Node) (unlock func(), err error) {
	if err := os.MkdirAll(cfg.RunDir, 0o755); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	return lock(filepath.Join(cfg.RunDir, "weftd.lock"))
}

var errLocked = errors.New("another weftd uses this run directory")

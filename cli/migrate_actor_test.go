package cli

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

// actor is a node that takes part in migrations as far as etcd shows: with a
// real session, and no kernel below it.
type actor struct {
	fabric.Node
	checks []fabric.Check
	// waits keeps it in a phase while it returns true; nil: nothing does.
	waits func(phase string) bool
	// loses makes it pause the migration when its turn comes, once each.
	loses bool
}

func actorOf(name string, labels ...string) actor {
	n := nodeOf(name, 0, "198.18.0."+strings.TrimPrefix(name, "host"), "")
	n.Features = []string{fabric.FeatureMigrate}
	n.Labels = map[string]string{}
	for _, l := range labels {
		key, value, _ := strings.Cut(l, "=")
		n.Labels[key] = value
	}
	return actor{Node: n, checks: allOK()}
}

// play runs a node until the test ends or stop is called.
func play(t *testing.T, env []string, a actor) (stop func()) {
	t.Helper()
	s := openStore(t, env)
	var mu sync.Mutex
	var newest *fabric.Snapshot
	leased := make(chan struct{})
	var once sync.Once
	session := s.NewSession(store.SessionOptions{
		Self: a.Node, Instance: "life of " + a.Name,
		Snapshots: func(snap *fabric.Snapshot) { mu.Lock(); newest = snap; mu.Unlock() },
		Lease: func(l store.Lease) {
			if l.State == store.Leased {
				once.Do(func() { close(leased) })
			}
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() {
		if err := session.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	tasks.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			mu.Lock()
			snap := newest
			mu.Unlock()
			if snap == nil || snap.Migration == nil {
				continue
			}
			// etcd may be away, and the migration over: then there is another try.
			if err := a.act(ctx, session, snap); err != nil && !errors.Is(err, store.ErrNotFound) && ctx.Err() == nil {
				t.Log(a.Name, err)
			}
		}
	})
	stop = sync.OnceFunc(func() { cancel(); tasks.Wait() })
	t.Cleanup(stop)
	select {
	case <-leased:
	case <-time.After(time.Minute):
		t.Fatalf("%s leased nothing", a.Name)
	}
	return stop
}

// act does what a snapshot asks of this node.
func (a *actor) act(ctx context.Context, session *store.Session, snap *fabric.Snapshot) error {
	m, p, was := snap.Migration, snap.Progress(), snap.Report(a.Name)
	if a.waits != nil && a.waits(p.Phase) {
		return nil
	}
	r := was
	switch {
	case was.ID == "":
		r = fabric.MigrationReport{ID: m.ID, Checks: a.checks, Total: len(snap.Peers) - 1}
	case m.Pause != nil || m.DryRun:
		return nil
	case p.Phase == fabric.PhaseUndoing:
		r.Done, r.Moved, r.Cursor = false, 0, ""
	case !was.Armed && p.Phase != fabric.PhaseRefused && p.Phase != fabric.PhaseChecking && !m.Undo:
		r.Armed = true
	case p.Phase == fabric.PhaseMoving && a.turn(p) && a.loses:
		a.loses = false
		return session.PauseMigration(ctx, m.ID, fabric.Pause{Node: a.Name, Peer: "host9", Reason: "3 of 10 probes were lost by bgp", At: noon})
	case p.Phase == fabric.PhaseMoving && a.turn(p):
		r.Done, r.Moved = true, r.Total
	default:
		return nil
	}
	if r.Armed == was.Armed && r.Done == was.Done && r.Moved == was.Moved && r.ID == was.ID {
		return nil
	}
	r.At = noon
	return session.ReportMigration(ctx, r)
}

// turn reports whether it is this node's turn to move: the first by name that
// has not.
func (a *actor) turn(p fabric.Progress) bool { return len(p.Waiting) > 0 && p.Waiting[0] == a.Name }

// heard is an output that others can wait for words in.
type heard struct {
	mu   sync.Mutex
	text strings.Builder
}

func (h *heard) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(b)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

func (h *heard) has(words string) bool { return strings.Contains(h.String(), words) }

// running is a command that has not ended yet.
type running struct {
	out, err  heard
	interrupt context.CancelFunc
	code      chan int
}

// launch runs a command line while the test does something else.
func launch(t *testing.T, env []string, interactive bool, line string) *running {
	t.Helper()
	r := &running{code: make(chan int, 1)}
	ready := make(chan struct{})
	go func() {
		term := Terminal{In: strings.NewReader(""), Out: &r.out, Err: &r.err, Environ: env, Now: func() time.Time { return noon }, Interactive: interactive}
		interrupted, cancel := context.WithCancel(t.Context())
		r.interrupt = cancel
		close(ready)
		term.Interrupted = func(context.Context) (context.Context, context.CancelFunc) { return interrupted, cancel }
		r.code <- Run(t.Context(), term, strings.Fields(line))
	}()
	<-ready
	return r
}

// ends waits for the command and returns what it did.
func (r *running) ends(t *testing.T) result {
	t.Helper()
	select {
	case code := <-r.code:
		checkErrorLine(t, code, r.err.String())
		return result{code, r.out.String(), r.err.String()}
	case <-time.After(time.Minute):
		t.Fatalf("it does not end:\n%s%s", &r.out, &r.err)
		return result{}
	}
}

// changing are the words of lines that tell what a poll may or may not see.
var changing = []string{fabric.PhaseChecking, fabric.PhaseArming, fabric.PhaseMoving, fabric.PhaseUndoing}

// settled is a text without what differs from run to run.
func settled(text string) string {
	text = regexp.MustCompile(`\d{8}-\d{6}-[a-z0-9]{6}`).ReplaceAllString(text, "ID")
	if host, err := os.Hostname(); err == nil {
		text = strings.ReplaceAll(text, "@"+host, "@HOST")
	}
	var out strings.Builder
	dropped := false
	for line := range strings.Lines(text) {
		word, _, _ := strings.Cut(line, " ")
		dropped = slices.Contains(changing, word) || dropped && strings.HasPrefix(line, strings.Repeat(" ", margin))
		if !dropped {
			out.WriteString(line)
		}
	}
	return out.String()
}

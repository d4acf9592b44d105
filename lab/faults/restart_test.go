package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/lab"
	"github.com/weft-net/weft/lab/topologies"
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	code, ran, err := lab.EnterUserNamespace()
	if ran {
		return code
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err) // testns.New leaves out what cannot be
	}
	defer func() { os.RemoveAll(binDir) }()
	return m.Run()
}

// binDir holds the programs that the tests run; made at first use.
var binDir string

var binaries = sync.OnceValues(func() (lab.Binaries, error) {
	if dir := os.Getenv("WEFT_TEST_BIN"); dir != "" {
		return lab.BinariesIn(dir), nil
	}
	var err error
	if binDir, err = os.MkdirTemp("", "weft-faults-bin-"); err != nil {
		return lab.Binaries{}, err
	}
	return lab.BuildBinaries(context.Background(), binDir)
})

// up brings up three racks, each with one ToR of FRR and one of BIRD.
func up(t *testing.T, limit time.Duration) (context.Context, *lab.Lab) {
	t.Helper()
	ctx, l := upTopology(t, topologies.LeafSpine, limit)
	must(t, l.WaitSessions(ctx))
	return ctx, l
}

func upTopology(t *testing.T, file []byte, limit time.Duration) (context.Context, *lab.Lab) {
	t.Helper()
	testns.New(t)
	bin, err := binaries()
	must(t, err)
	topo, err := lab.ParseTopology(file)
	must(t, err)
	l, err := lab.New(lab.Options{Topology: topo, Binaries: bin})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(l.Dir(), "log", "weftd-*.log"))
			for _, name := range logs {
				text, _ := os.ReadFile(name)
				t.Logf("%s:\n%s", name, text[max(0, len(text)-4000):])
			}
		}
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, errors.New("the fault run took too long"))
	t.Cleanup(cancel)
	must(t, l.Up(ctx))
	return ctx, l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRestartLoop: an agent that is restarted 100 times in a row, by the kinds
// of end that there are in turn, costs no packet at FRR and BIRD.
func TestRestartLoop(t *testing.T) {
	n := times(100, 6)
	ctx, l := up(t, 2*time.Minute+time.Duration(n)*15*time.Second)
	h := l.Host("h3")
	ends := []struct {
		name string
		do   func() error
	}{
		{"killed", h.Agent.Kill},
		{"stopped", func() error { return h.Agent.Stop(ctx) }},
		// The second crash comes at once, before anything has been told.
		{"killed twice", func() error { return errors.Join(h.Agent.Kill(), h.Agent.Start(), h.Agent.Kill()) }},
	}
	m, err := lab.StartMesh(ctx, l.PodEndpoints(), lab.ProbeOptions{Rate: 100})
	must(t, err)
	for i := range n {
		end := ends[i%len(ends)]
		if err := restart(ctx, l, h, end.do); err != nil {
			t.Errorf("restart %d (%s): %v", i+1, end.name, err)
			break
		}
	}
	r, err := m.Stop(ctx)
	must(t, err)
	t.Logf("%d restarts: %s", n, r.Summary())
	if !r.Clean() {
		t.Errorf("%d restarts cost packets:\n%s", n, strings.Join(r.Losses(), "\n"))
	}
}

// restart ends the agent and starts it again, and waits until all of its
// sessions are up.
func restart(ctx context.Context, l *lab.Lab, h *lab.Host, end func() error) error {
	if err := errors.Join(end(), h.Agent.Start()); err != nil {
		return err
	}
	if err := errors.Join(h.Agent.WaitReady(ctx), l.WaitSessions(ctx)); err != nil {
		return err
	}
	return h.Agent.WaitBGP(ctx, "its peers to have told all", func(b *api.BGP) error {
		if !b.Synced.IPv4 || !b.Synced.IPv6 || b.FIB.Lacking > 0 || b.FIB.Retained > 0 {
			return fmt.Errorf("synced %+v, %+v", b.Synced, b.FIB)
		}
		return nil
	})
}

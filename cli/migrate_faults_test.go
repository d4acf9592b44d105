package cli

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/weft-net/weft/fabric"
)

// TestMigrationPausesItself: on a loss the command ends with where and why, and
// both ways out of it work from there.
func TestMigrationPausesItself(t *testing.T) {
	env := fabricOf(t, fabricYAML)
	play(t, env, actorOf("host1"))
	loser := actorOf("host2")
	loser.loses = true
	play(t, env, loser)
	r := command(t, env, "", "migrate", "vxlan-to-bgp")
	if r.code != exitFailed || !strings.Contains(r.out, "\npaused    0s ago, on the way from host2 to host9: 3 of 10 probes were lost by\n          bgp\n") ||
		r.err != "weft: the migration is paused: on the way from host2 to host9: 3 of 10 probes were lost by bgp; hint: `weft migrate resume` goes on from here, `weft migrate undo` takes it back\n" {
		t.Errorf("got %+v", r)
	}
	checkWidth(t, r.out)
	if r := command(t, env, "", "migrate", "status"); r.code != exitNo || !strings.Contains(r.out, "`weft peers host9` on host2 shows") {
		t.Errorf("status: %+v", r)
	}
	if r := command(t, env, "", "migrate", "finish"); r.code != exitFailed || !strings.Contains(r.err, "not finished (moving): host2: it still sends by the old plan") {
		t.Errorf("finish: %+v", r)
	}
	if r := command(t, env, "", "migrate", "resume"); r.code != exitDone || !strings.Contains(r.out, "moved     2 nodes send the new way, 2 peers in all\n") {
		t.Errorf("resume: %+v", r)
	}
	if r := command(t, env, "", "migrate", "undo"); r.code != exitDone || !strings.Contains(r.out, "undone    every node sends the old way\n") || currentPhase(t, env) != "" {
		t.Errorf("undo: %+v", r)
	}
}

// TestMigrationRefused: a node that cannot go along is named, with what to do,
// and nothing is left behind.
func TestMigrationRefused(t *testing.T) {
	env := fabricOf(t, fabricYAML)
	play(t, env, actorOf("host1"))
	bad := actorOf("host2")
	bad.checks[6] = fabric.Check{Name: "sessions", Result: fabric.CheckFailed, Text: "none of 2 sessions is established"}
	play(t, env, bad)
	for line, want := range map[string]result{
		"migrate vxlan-to-bgp --dry-run": {code: exitNo},
		"migrate vxlan-to-bgp":           {code: exitFailed, err: "weft: nothing was moved: 1 node failed a check; hint: put that right and repeat this; with --dry-run it only looks\n"},
	} {
		r := command(t, env, "", strings.Fields(line)...)
		if r.code != want.code || r.err != want.err || !strings.Contains(r.out, "NODE   SESSIONS\nhost1  ok\nhost2  FAILED\n") ||
			!strings.Contains(r.out, "FAILED    sessions on host2: none of 2 sessions is established\n") {
			t.Errorf("%s: %+v", line, r)
		}
		if phase := currentPhase(t, env); phase != "" {
			t.Errorf("%s leaves one that is %s", line, phase)
		}
	}
	// One that nobody follows stays, does nothing, and is in nobody's way.
	if r := command(t, env, "", "migrate", "vxlan-to-bgp", "--detach"); r.code != exitDone {
		t.Fatal(r)
	}
	waitFor(t, "the refusal", func() bool { return currentPhase(t, env) == fabric.PhaseRefused })
	if r := command(t, env, "", "migrate", "status"); r.code != exitNo || !strings.Contains(r.out, "phase     refused: nothing moves, a check failed\n") {
		t.Errorf("status: %+v", r)
	}
	if r := command(t, env, "", "migrate", "vxlan", "--port", "8472", "--dry-run"); r.code != exitNo ||
		!strings.HasPrefix(r.err, "note: an earlier migration is taken away: vxlan to bgp, begun 0s ago by op@") || !strings.HasSuffix(r.err, ", refused\n") {
		t.Errorf("the next one: %+v", r)
	}
}

// TestMigrateInterrupted: ^C ends the command, and nothing else.
func TestMigrateInterrupted(t *testing.T) {
	env := fabricOf(t, fabricYAML)
	a := actorOf("host1")
	a.waits = func(phase string) bool { return phase != fabric.PhaseChecking }
	play(t, env, a)
	play(t, env, actorOf("host2"))
	r := launch(t, env, true, "migrate vxlan-to-bgp")
	waitFor(t, "the nodes to arm themselves", func() bool { return r.out.has("1 of 2 nodes receive both ways; waits for host1\x1b[K") })
	r.interrupt()
	got := r.ends(t)
	if got.code != exitNo || !strings.HasPrefix(got.err, "note: the migration goes on without this command:\n") || !strings.HasSuffix(got.out, "\r\x1b[K") {
		t.Errorf("got %+v", got)
	}
	if phase := currentPhase(t, env); phase != fabric.PhaseArming {
		t.Errorf("it is %q", phase)
	}
	if r := command(t, env, "", "migrate", "undo"); r.code != exitDone {
		t.Errorf("undo: %+v", r)
	}
	// A dry run is nothing without whoever began it.
	silent := actorOf("host3")
	silent.waits = func(string) bool { return true }
	play(t, env, silent)
	r = launch(t, env, false, "migrate vxlan-to-bgp --dry-run")
	waitFor(t, "the others to look", func() bool { return r.out.has("\nchecking") })
	r.interrupt()
	if got := r.ends(t); got.code != exitNo || got.err != "note: the dry run is given up; nothing was changed\n" || currentPhase(t, env) != "" {
		t.Errorf("dry run: %+v", got)
	}
}

// TestMigrationTakenBackByAnother: who follows is told, whatever was asked for.
func TestMigrationTakenBackByAnother(t *testing.T) {
	env := fabricOf(t, fabricYAML)
	a := actorOf("host1")
	a.waits = func(phase string) bool { return phase == fabric.PhaseMoving }
	play(t, env, a)
	r := launch(t, env, false, "migrate vxlan-to-bgp")
	waitFor(t, "the move", func() bool { return r.out.has("\nmoving    0 of 1 node") })
	if r := command(t, env, "", "migrate", "undo", "--detach"); r.code != exitDone || r.out != "it is taken back; `weft migrate status --follow` tells how\n" {
		t.Errorf("undo: %+v", r)
	}
	if got := r.ends(t); got.code != exitFailed || got.err != "weft: somebody took the migration back meanwhile; every node sends the old way\n" {
		t.Errorf("got %+v", got)
	}
	r = launch(t, env, false, "migrate vxlan-to-bgp")
	waitFor(t, "the move", func() bool { return r.out.has("\nmoving    0 of 1 node") })
	s := openStore(t, env)
	snap, err := s.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.FinishMigration(t.Context(), snap.Migration.ID, 0, nil); err != nil {
		t.Fatal(err)
	}
	if got := r.ends(t); got.code != exitFailed || got.err != "weft: somebody else ended the migration meanwhile; spec.backend is vxlan\n" {
		t.Errorf("got %+v", got)
	}
}

// TestTwoOperators begin opposite migrations, or the same, at once: one does.
func TestTwoOperators(t *testing.T) {
	env := fabricOf(t, fabricYAML)
	a := actorOf("host1")
	a.waits = func(phase string) bool { return phase != fabric.PhaseChecking }
	play(t, env, a)
	var all []*running
	for range 4 {
		all = append(all, launch(t, env, false, "migrate vxlan-to-bgp --detach"), launch(t, env, false, "migrate vxlan --port 8472 --detach"))
	}
	began := 0
	for _, r := range all {
		switch got := r.ends(t); {
		case got.code == exitDone:
			began++
		case got.code != exitFailed || !strings.Contains(got.err, "a migration is under way: ") || !strings.HasSuffix(got.err, "; hint: `weft migrate status` shows it\n"):
			t.Errorf("got %+v", got)
		}
	}
	if began != 1 {
		t.Errorf("%d began", began)
	}
}

// TestMigrationOutlivesEtcd: the command says that etcd is away, and goes on.
func TestMigrationOutlivesEtcd(t *testing.T) {
	env := fabricOf(t, fabricYAML)
	a := actorOf("host1")
	var mu sync.Mutex
	held := true
	a.waits = func(phase string) bool {
		mu.Lock()
		defer mu.Unlock()
		return held && phase == fabric.PhaseMoving
	}
	play(t, env, a)
	line := newLine(t, strings.TrimPrefix(env[0], "WEFT_ETCD_ENDPOINTS="))
	r := launch(t, append([]string{"WEFT_ETCD_ENDPOINTS=" + line.address}, env[1:]...), true, "migrate vxlan-to-bgp")
	waitFor(t, "the move", func() bool { return r.out.has("\rmoving    0 of 1 node") })
	line.cut()
	waitFor(t, "a word about etcd", func() bool {
		return r.err.has("note: etcd at ") && r.err.has("; traffic flows on, nothing more moves until it is back; still trying\n")
	})
	line.mend(t)
	waitFor(t, "another word about etcd", func() bool { return r.err.has("note: etcd answers again\n") })
	mu.Lock()
	held = false
	mu.Unlock()
	if got := r.ends(t); got.code != exitDone || !strings.Contains(got.out, "moved     1 node sends") || strings.Count(got.err, "note: ") != 2 {
		t.Errorf("got %+v", got)
	}
}

// line is a TCP relay that can be cut.
type line struct {
	address, to string
	mu          sync.Mutex
	listener    net.Listener
	conns       []net.Conn
	tasks       sync.WaitGroup
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	l := &line{to: to, address: "127.0.0.1:0"}
	l.mend(t)
	t.Cleanup(func() { l.cut(); l.tasks.Wait() })
	return l
}

func (l *line) mend(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", l.address)
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listener, l.address = listener, listener.Addr().String()
	l.tasks.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return // cut
			}
			l.join(near)
		}
	})
}

func (l *line) join(near net.Conn) {
	far, err := net.Dial("tcp", l.to)
	if err != nil {
		near.Close()
		return
	}
	l.mu.Lock()
	l.conns = append(l.conns, near, far)
	l.mu.Unlock()
	for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
		l.tasks.Go(func() {
			_, _ = io.Copy(pair[0], pair[1]) // ends with either side, or the cut
			pair[0].Close()
			pair[1].Close()
		})
	}
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listener.Close()
	for _, c := range l.conns {
		c.Close()
	}
	l.conns = nil
}

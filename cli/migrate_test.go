package cli

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/golden"
)

// fabricOf sets a fabric up in the real etcd, with a BGPPeer object.
func fabricOf(t *testing.T, spec string) (env []string) {
	t.Helper()
	env = append(etcd(t), "USER=op")
	if r := command(t, env, spec+torsYAML, "apply", "-f", "-"); r.code != exitDone {
		t.Fatal(r.err)
	}
	return env
}

func currentPhase(t *testing.T, env []string) string {
	t.Helper()
	r := command(t, env, "", "migrate", "status", "-o", "json")
	var s migrationState
	if err := json.Unmarshal([]byte(r.out), &s); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	return s.Phase
}

// scene collects what an operator sees.
type scene struct {
	t    *testing.T
	env  []string
	text strings.Builder
}

func (s *scene) play(code int, line string) {
	s.t.Helper()
	r := command(s.t, s.env, "", strings.Fields(line)...)
	if r.code != code {
		s.t.Errorf("%s: exit code %d, want %d\n%s%s", line, r.code, code, r.out, r.err)
	}
	s.note(line, r)
}

func (s *scene) note(line string, r result) {
	s.t.Helper()
	out := settled(r.out)
	checkWidth(s.t, out)
	s.text.WriteString("$ weft " + line + "\n" + out + settled(r.err))
}

func (s *scene) wait(phase string) {
	s.t.Helper()
	waitFor(s.t, "the phase "+phase, func() bool { return currentPhase(s.t, s.env) == phase })
}

// TestMigrate is the life of migrations, as operators see them.
func TestMigrate(t *testing.T) {
	env := append(etcd(t), "USER=op")
	s := &scene{t: t, env: env}
	s.play(exitDone, "migrate status")
	s.play(exitFailed, "migrate vxlan-to-bgp") // there is no Fabric
	if r := command(t, env, fabricYAML, "apply", "-f", "-"); r.code != exitDone {
		t.Fatal(r.err)
	}
	s.play(exitFailed, "migrate vxlan-to-bgp") // nor a session
	if r := command(t, env, strings.TrimPrefix(torsYAML, "---\n"), "apply", "-f", "-"); r.code != exitDone {
		t.Fatal(r.err)
	}
	s.play(exitFailed, "migrate vxlan-to-bgp") // nor a node
	// So that what is told does not depend on who is faster.
	var current *running
	var mu sync.Mutex
	waits := func(phase string) bool {
		mu.Lock()
		defer mu.Unlock()
		return current != nil && (phase == fabric.PhaseMoving && !current.out.has("armed") || phase == fabric.PhaseUndoing && !current.out.has("undoing"))
	}
	for _, name := range []string{"host1", "host2", "host3"} {
		a := actorOf(name)
		a.waits = waits
		play(t, env, a)
	}
	s.play(exitFailed, "migrate bgp-to-vxlan")
	s.play(exitUsage, "migrate vxlan")
	s.play(exitFailed, "migrate vxlan --port 4789")
	s.play(exitUsage, "migrate vxlan --udp-checksum")
	s.play(exitUsage, "migrate vxlan --vni 0")
	s.play(exitFailed, "migrate vxlan-to-bgp --nodes rack=r9")
	s.play(exitDone, "migrate vxlan-to-bgp --dry-run")
	s.play(exitDone, "migrate status")
	for _, line := range []string{"pause", "resume", "undo", "finish"} {
		s.play(exitFailed, "migrate "+line)
	}
	follow := func(line string) {
		t.Helper()
		r := launch(t, env, false, line)
		mu.Lock()
		current = r
		mu.Unlock()
		done := r.ends(t)
		if done.code != exitDone {
			t.Errorf("%s: %+v", line, done)
		}
		s.note(line, done)
	}
	follow("migrate vxlan-to-bgp --rate 50")
	s.play(exitFailed, "migrate vxlan --port 8472") // one is under way
	s.play(exitDone, "migrate status")
	s.play(exitDone, "migrate finish --dry-run")
	follow("migrate undo")
	s.play(exitDone, "migrate status")
	s.play(exitDone, "migrate vxlan-to-bgp --detach")
	mu.Lock()
	current = nil
	mu.Unlock()
	s.wait(fabric.PhaseMoved)
	s.play(exitDone, "migrate finish")
	s.play(exitDone, "get fabric")
	s.play(exitDone, "migrate bgp-to-vxlan --detach")
	s.wait(fabric.PhaseMoved)
	s.play(exitDone, "migrate finish")
	s.play(exitDone, "migrate vxlan --port 8472 --detach")
	s.play(exitDone, "migrate pause the switch is changed")
	s.play(exitDone, "migrate pause")
	s.play(exitFailed, "migrate status --follow")
	s.play(exitDone, "migrate resume --detach")
	s.wait(fabric.PhaseMoved)
	s.play(exitDone, "migrate resume")
	s.play(exitDone, "migrate finish")
	s.play(exitDone, "get fabric -o yaml")
	golden.Compare(t, "migrate.txt", s.text.String())
}

package fabric

import (
	"reflect"
	"strings"
	"testing"
)

// The words that describe a node in the tests below: dead, old (its agent knows
// no migrations), checked, failed, armed, cursor, moving, done, other (one that
// does not move), stale (its report is on another migration).
func migrating(m *Migration, nodes ...string) *Snapshot {
	s := &Snapshot{Spec: &Spec{Backend: "vxlan"}, Migration: m, Reports: map[string]MigrationReport{}}
	for _, line := range nodes {
		name, text, _ := strings.Cut(line, " ")
		has := func(word string) bool { return strings.Contains(" "+text+" ", " "+word+" ") }
		p := &Peer{Node: Node{Name: name, ID: NodeID(name)}, Alive: !has("dead")}
		if !has("old") {
			p.Features = []string{FeatureMigrate}
		}
		if !has("other") {
			p.Labels = map[string]string{"moves": "yes"}
		}
		r := MigrationReport{ID: "one", Armed: has("armed"), Moving: has("moving"), Done: has("done"), Total: 2}
		if has("checked") || has("armed") {
			r.Checks = []Check{{Name: "version", Result: CheckOK}, {Name: "mtu", Result: CheckWarning}}
		}
		if has("failed") {
			r.Checks = []Check{{Name: "sessions", Result: CheckFailed}}
		}
		if has("cursor") {
			r.Cursor, r.Moved = "b", 1
		}
		if has("done") {
			r.Cursor, r.Moved = "z", 2
		}
		if has("stale") {
			r.ID = "earlier"
		}
		s.Peers, s.Reports[name] = append(s.Peers, p), r
	}
	return s
}

func forward() *Migration {
	return &Migration{ID: "one", Nodes: Selector{"moves": "yes"}, To: Plan{Backend: "bgp"}}
}

func back() *Migration { m := forward(); m.Undo = true; return m }

func TestProgress(t *testing.T) {
	dry := forward()
	dry.DryRun = true
	for _, tt := range []struct {
		name                 string
		m                    *Migration
		nodes                string
		phase, waiting, left string
		nodesMoved, peers    int
	}{
		{"nobody has said a word", forward(), "a; b", PhaseChecking, "a b", "", 0, 0},
		{"reports of an earlier one", forward(), "a armed done stale; b checked", PhaseChecking, "a", "", 0, 0},
		{"one refuses", forward(), "a failed; b", PhaseRefused, "a", "", 0, 0},
		{"dry run", dry, "a checked; b checked", PhaseChecked, "", "", 0, 0},
		{"arming", forward(), "a armed; b checked", PhaseArming, "b", "", 0, 0},
		{"moving", forward(), "a armed done; b armed cursor moving; c armed", PhaseMoving, "b c", "", 1, 3},
		{"the last move is not looked at yet", forward(), "a armed done; b armed done moving", PhaseMoving, "b", "", 1, 4},
		{"moved", forward(), "a armed done; b armed done; c armed other", PhaseMoved, "", "", 2, 4},
		{"old and dead ones are left", forward(), "a armed done; b old; c dead", PhaseMoved, "", "b c", 1, 2},
		{"a node joins while others move", forward(), "a armed cursor; b", PhaseMoving, "a b", "", 0, 1},
		{"one that joins is refused", forward(), "a armed done; b failed", PhaseMoving, "b", "", 1, 2},
		{"undo", back(), "a armed done; b armed cursor; c armed", PhaseUndoing, "a b", "", 1, 3},
		{"undo waits for the last look", back(), "a armed moving; b armed", PhaseUndoing, "a", "", 1, 4},
		{"undo waits for one that died when it had moved", back(), "a armed done dead; b armed", PhaseUndoing, "a", "a", 1, 2},
		{"undo does not wait for one that forgot what a migration is", back(), "a armed done old; b armed", PhaseUndone, "", "a", 1, 2},
		{"undone before it began", back(), "a failed; b", PhaseUndone, "", "", 2, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := migrating(tt.m, strings.Split(tt.nodes, "; ")...).Progress()
			got := []string{p.Phase, strings.Join(p.Waiting, " "), strings.Join(p.Left, " ")}
			if want := []string{tt.phase, tt.waiting, tt.left}; !reflect.DeepEqual(got, want) {
				t.Errorf("phase, waiting, left: %q, want %q", got, want)
			}
			if p.NodesMoved != tt.nodesMoved || p.PeersMoved != tt.peers {
				t.Errorf("%d nodes, %d peers moved, want %d, %d", p.NodesMoved, p.PeersMoved, tt.nodesMoved, tt.peers)
			}
		})
	}
}

// A pair uses the new plan only where both ends are armed for it.
func TestPlanFor(t *testing.T) {
	dry := forward()
	dry.DryRun = true
	for _, tt := range []struct {
		name       string
		m          *Migration
		self, peer string
		want       string // backends of PlansFor
	}{
		{"no migration", nil, "a armed done", "b armed", "vxlan"},
		{"dry run", dry, "a armed done", "b armed", "vxlan"},
		{"done", forward(), "a armed done", "b armed", "bgp vxlan"},
		{"below the cursor", forward(), "a armed cursor", "b armed", "bgp vxlan"},
		{"above the cursor", forward(), "a armed cursor", "c armed", "vxlan"},
		{"no cursor", forward(), "a armed", "0 armed", "vxlan"},
		{"peer not armed", forward(), "a armed done", "b checked", "vxlan"},
		{"peer's report is on another migration", forward(), "a armed done", "b armed stale", "vxlan"},
		{"peer was armed by an agent of another version", forward(), "a armed done", "b armed old", "vxlan"},
		{"own report is on another migration", forward(), "a armed done stale", "b armed", "vxlan"},
		{"not armed itself", forward(), "a done", "b armed", "vxlan"},
		{"peer's agent is gone", forward(), "a armed done", "b armed dead", "bgp vxlan"},
		{"undo keeps to the cursor", back(), "a armed cursor", "b armed", "bgp vxlan"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := migrating(tt.m, tt.self, tt.peer)
			self, peer := &s.Peers[0].Node, &s.Peers[1].Node
			var got []string
			for _, p := range s.PlansFor(self, peer) {
				got = append(got, p.Backend)
			}
			if strings.Join(got, " ") != tt.want || !s.PlanFor(self, peer).Equal(s.PlansFor(self, peer)[0]) {
				t.Errorf("plans %q, want %q", got, tt.want)
			}
		})
	}
}

func TestUnready(t *testing.T) {
	s := migrating(forward(), "f armed done", "e armed other", "d armed dead", "c armed done moving", "b old", "a")
	var got []string
	for _, u := range s.Unready() {
		got = append(got, u.Node+": "+u.Reason)
	}
	want := []string{
		"a: it does not receive by the new plan yet",
		"b: its agent knows no migrations and sends by the old plan",
		"c: it still sends by the old plan",
		"d: its agent is gone; it still sends by the old plan",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

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
	}{
		{"nobody has said a word", forward(), "a; b", PhaseChecking, "a b", ""},
		{"reports of an earlier one", forward(), "a armed done stale; b checked", PhaseChecking, "a", ""},
		{"one refuses", forward(), "a failed; b", PhaseRefused, "a", ""},
		{"dry run", dry, "a checked; b checked", PhaseChecked, "", ""},
		{"arming", forward(), "a armed; b checked", PhaseArming, "b", ""},
		{"moving", forward(), "a armed done; b armed cursor moving; c armed", PhaseMoving, "b c", ""},
		{"the last move is not looked at yet", forward(), "a armed done; b armed done moving", PhaseMoving, "b", ""},
		{"moved", forward(), "a armed done; b armed done; c armed other", PhaseMoved, "", ""},
		{"old and dead ones are left", forward(), "a armed done; b old; c dead", PhaseMoved, "", "b c"},
		{"a node joins while others move", forward(), "a armed cursor; b", PhaseMoving, "a b", ""},
		{"one that joins is refused", forward(), "a armed done; b failed", PhaseMoving, "b", ""},
		{"undo", back(), "a armed done; b armed cursor; c armed", PhaseUndoing, "a b", ""},
		{"undo waits for the last look", back(), "a armed moving; b armed", PhaseUndoing, "a", ""},
		{"undo waits for one that died when it had moved", back(), "a armed done dead; b armed", PhaseUndoing, "a", "a"},
		{"undo does not wait for one that forgot what a migration is", back(), "a armed done old; b armed", PhaseUndone, "", "a"},
		{"undone before it began", back(), "a failed; b", PhaseUndone, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := migrating(tt.m, strings.Split(tt.nodes, "; ")...).Progress()
			got := []string{p.Phase, strings.Join(p.Waiting, " "), strings.Join(p.Left, " ")}
			if want := []string{tt.phase, tt.waiting, tt.left}; !reflect.DeepEqual(got, want) {
				t.Errorf("phase, waiting, left: %q, want %q", got, want)
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
		want       string // the plan's backend
	}{
		{"no migration", nil, "a armed done", "b armed", "vxlan"},
		{"dry run", dry, "a armed done", "b armed", "vxlan"},
		{"done", forward(), "a armed done", "b armed", "bgp"},
		{"below the cursor", forward(), "a armed cursor", "b armed", "bgp"},
		{"above the cursor", forward(), "a armed cursor", "c armed", "vxlan"},
		{"no cursor", forward(), "a armed", "0 armed", "vxlan"},
		{"peer not armed", forward(), "a armed done", "b checked", "vxlan"},
		{"peer's report is on another migration", forward(), "a armed done", "b armed stale", "vxlan"},
		{"peer was armed by an agent of another version", forward(), "a armed done", "b armed old", "vxlan"},
		{"own report is on another migration", forward(), "a armed done stale", "b armed", "vxlan"},
		{"not armed itself", forward(), "a done", "b armed", "vxlan"},
		{"peer's agent is gone", forward(), "a armed done", "b armed dead", "bgp"},
		{"undo keeps to the cursor", back(), "a armed cursor", "b armed", "bgp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := migrating(tt.m, tt.self, tt.peer)
			self, peer := &s.Peers[0].Node, &s.Peers[1].Node
			if got := s.PlanFor(self, peer).Backend; got != tt.want {
				t.Errorf("plan %q, want %q", got, tt.want)
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

// Nothing is touched before every node has said that it can go along, and
// nothing that may be in use is taken away after that.
func TestArms(t *testing.T) {
	for _, tt := range []struct {
		name  string
		m     *Migration
		nodes []string
		arms  bool
	}{
		{"none under way", nil, []string{"a", "b"}, false},
		{"one has not looked", &Migration{}, []string{"a checked", "b"}, false},
		{"one cannot go along", &Migration{}, []string{"a checked", "b failed"}, false},
		{"all can", &Migration{}, []string{"a checked", "b checked"}, true},
		{"who is dead or old is not asked", &Migration{}, []string{"a checked", "b dead", "c old"}, true},
		{"only looked at", &Migration{DryRun: true}, []string{"a checked", "b checked"}, false},
		{"taken back before anything", &Migration{Undo: true}, []string{"a checked", "b checked"}, false},
		{"one joins that cannot", &Migration{}, []string{"a armed", "b armed", "c failed"}, true},
		{"one joins while others have moved", &Migration{}, []string{"a armed done", "b armed cursor", "c"}, true},
		{"taken back", &Migration{Undo: true}, []string{"a armed", "b armed"}, true},
		{"armed for an earlier one", &Migration{}, []string{"a armed stale", "b checked"}, false},
	} {
		if tt.m != nil {
			tt.m.ID = "one"
		}
		s := migrating(tt.m, tt.nodes...)
		if got := s.Arms(); got != tt.arms {
			t.Errorf("%s: %v", tt.name, got)
		}
		if plans := len(s.Plans()); (plans == 2) != tt.arms {
			t.Errorf("%s: %d plans", tt.name, plans)
		}
	}
}

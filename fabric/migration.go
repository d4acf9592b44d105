package fabric

import (
	"slices"
	"strings"
	"time"
)

// FeatureMigrate in Node.Features says that the node's agent takes part in
// migrations.
const FeatureMigrate = "migrate"

// Migration is the record under `migration`: the fabric moves from one plan to
// another while it runs. There is one at a time. Every node arms itself to
// receive by both; then one node after the other, in turns by the lock
// MigrationLock, moves what it sends, peer by peer. What follows from the
// records is computed by each node for itself, so nobody is in charge and
// nobody's death ends it.
type Migration struct {
	ID   string `json:"id"` // tells the reports of an earlier one apart
	From Plan   `json:"from"`
	To   Plan   `json:"to"`
	// Nodes are those that move; nil: all. The others arm themselves only.
	Nodes Selector `json:"nodes,omitempty"`
	Rate  int      `json:"rate"` // peers that a node moves in a second
	// DryRun: nothing is armed or moved, only checked.
	DryRun bool `json:"dryRun,omitempty"`
	// Undo: the nodes move back to From.
	Undo    bool      `json:"undo,omitempty"`
	By      string    `json:"by,omitempty"` // who began it
	Created time.Time `json:"created"`
	// Pause stops all nodes where they are; nil: it goes on.
	Pause *Pause `json:"pause,omitempty"`
}

// MigrationLock is the name of the lock (store) that the node holds which moves
// its peers.
const MigrationLock = "migration"

// Pause says who stopped a migration and why.
type Pause struct {
	Reason string    `json:"reason"`
	Node   string    `json:"node,omitempty"` // the node that stopped it by itself; empty: an operator
	Peer   string    `json:"peer,omitempty"` // where it happened
	By     string    `json:"by,omitempty"`   // the operator
	At     time.Time `json:"at"`
}

// MigrationReport is the record under `migrating/<node>`: how far a node is.
type MigrationReport struct {
	ID     string  `json:"id"` // of the migration
	Checks []Check `json:"checks,omitempty"`
	// Armed: it receives by both plans.
	Armed bool `json:"armed,omitempty"`
	// Peers whose ids are not above Cursor are sent to by the new plan. It is
	// written before they are moved, and after they are moved back.
	Cursor NodeID `json:"cursor,omitempty"`
	// Done: every peer is sent to by the new plan, also those that come.
	Done   bool      `json:"done,omitempty"`
	Moved  int       `json:"moved,omitempty"` // peers, for people
	Total  int       `json:"total,omitempty"`
	Reason string    `json:"reason,omitempty"` // what it waits for, in words
	At     time.Time `json:"at"`
}

// Check is one thing that a node looked at before a migration.
type Check struct {
	Name string `json:"name"` // version, mtu, rp_filter, firewall, sessions, probes
	// Result is CheckOK, CheckWarning or CheckFailed.
	Result string `json:"result"`
	Text   string `json:"text,omitempty"`
}

// The results of a check. A migration does not begin where one has failed.
const (
	CheckOK      = "ok"
	CheckWarning = "warning"
	CheckFailed  = "failed"
)

// Failed lists the checks that failed.
func (r MigrationReport) Failed() (out []Check) {
	for _, c := range r.Checks {
		if c.Result == CheckFailed {
			out = append(out, c)
		}
	}
	return out
}

// report is that of a node on the migration m, the zero value where there is none.
func (s *Snapshot) report(node string) MigrationReport {
	if r, ok := s.Reports[node]; ok && s.Migration != nil && r.ID == s.Migration.ID {
		return r
	}
	return MigrationReport{}
}

// Report is what a node said of the migration under way, the zero value where
// it said nothing.
func (s *Snapshot) Report(node string) MigrationReport { return s.report(node) }

// Plans are those by which every node must be able to receive: the
// specification's and, while a migration is under way, its other one. The first
// is the specification's.
func (s *Snapshot) Plans() []Plan {
	if s.Spec == nil {
		return nil
	}
	plans := []Plan{s.Spec.Plan()}
	if m := s.Migration; m != nil && !m.DryRun {
		plans = append(plans, m.To)
	}
	return plans
}

// PlanFor is the plan by which node self sends to peer now: that which a
// migration leads to where the peer has moved, else the specification's.
func (s *Snapshot) PlanFor(self, peer *Node) Plan {
	if s.Moved(self, peer) {
		return s.Migration.To
	}
	return s.Spec.Plan()
}

// Moved reports whether node self sends to peer by the plan that a migration
// leads to: self has moved that far, and the peer is armed to receive by it.
func (s *Snapshot) Moved(self, peer *Node) bool {
	m := s.Migration
	if m == nil || m.DryRun || !s.report(peer.Name).Armed {
		return false
	}
	own := s.report(self.Name)
	return own.Done || own.Cursor != "" && peer.ID <= own.Cursor
}

// Moves reports whether a node is among those that a migration moves.
func (m *Migration) Moves(n *Node) bool { return m.Nodes == nil || m.Nodes.Matches(n.Labels) }

// The phases of a migration.
const (
	PhaseChecking = "checking" // not every node has looked yet
	PhaseRefused  = "refused"  // a check failed somewhere: nothing was moved
	PhaseChecked  = "checked"  // and it is a dry run
	PhaseArming   = "arming"   // not every node can receive by both plans yet
	PhaseMoving   = "moving"
	PhaseMoved    = "moved" // every node sends by the new plan
	PhaseUndoing  = "undoing"
	PhaseUndone   = "undone" // every node sends by the old plan again
)

// Progress is how far a migration is.
type Progress struct {
	Phase string
	Pause *Pause
	// Waiting are the nodes that the phase waits for, by name. Left are those
	// that take no part: their agents are gone, or know no migrations.
	Waiting, Left []string
	// Nodes that have moved (or moved back), of all that shall; peers likewise,
	// as far as the nodes have said.
	NodesMoved, NodesTotal int
	PeersMoved, PeersTotal int
}

// Progress computes how far the migration is; there must be one.
func (s *Snapshot) Progress() Progress {
	m := s.Migration
	p := Progress{Pause: m.Pause}
	var unchecked, refused, unarmed, unmoved, moved []string
	for _, n := range s.Peers {
		r := s.report(n.Name)
		switch {
		case !n.Alive || !slices.Contains(n.Features, FeatureMigrate):
			p.Left = append(p.Left, n.Name)
			if r.Cursor == "" && !r.Done {
				continue
			}
		case len(r.Checks) == 0:
			unchecked = append(unchecked, n.Name)
		case len(r.Failed()) > 0:
			refused = append(refused, n.Name)
		case !r.Armed:
			unarmed = append(unarmed, n.Name)
		}
		if !m.Moves(&n.Node) {
			continue
		}
		p.NodesTotal++
		p.PeersMoved += r.Moved
		p.PeersTotal += max(r.Total, r.Moved)
		if r.Done {
			p.NodesMoved++
		} else {
			unmoved = append(unmoved, n.Name)
		}
		if r.Done || r.Cursor != "" {
			moved = append(moved, n.Name)
		}
	}
	p.Phase, p.Waiting = phase(m, phases{unchecked, refused, unarmed, unmoved, moved})
	slices.SortFunc(p.Left, strings.Compare)
	slices.SortFunc(p.Waiting, strings.Compare)
	return p
}

// phases are the nodes that are not beyond a phase.
type phases struct{ unchecked, refused, unarmed, unmoved, moved []string }

func phase(m *Migration, n phases) (string, []string) {
	switch {
	case m.Undo && len(n.moved) > 0:
		return PhaseUndoing, n.moved
	case m.Undo:
		return PhaseUndone, nil
	case len(n.refused) > 0 && len(n.moved) == 0:
		return PhaseRefused, n.refused
	case len(n.unchecked) > 0:
		return PhaseChecking, n.unchecked
	case m.DryRun:
		return PhaseChecked, nil
	case len(n.unarmed) > 0:
		return PhaseArming, n.unarmed
	case len(n.unmoved) > 0:
		return PhaseMoving, n.unmoved
	}
	return PhaseMoved, nil
}

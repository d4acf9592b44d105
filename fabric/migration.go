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
	// Peers whose ids are not above Cursor are sent to by the new plan. The node
	// moves them when its report, as it comes back from etcd, says so.
	Cursor NodeID `json:"cursor,omitempty"`
	// Moving: the kernel may not have followed Cursor or Done yet, so that some
	// peers may still be sent to by the plan before. What begins a move sets it,
	// what has looked at the end takes it away.
	Moving bool `json:"moving,omitempty"`
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

// Report is what a node said of the migration under way, the zero value where
// it said nothing.
func (s *Snapshot) Report(node string) MigrationReport {
	if r, ok := s.Reports[node]; ok && s.Migration != nil && r.ID == s.Migration.ID {
		return r
	}
	return MigrationReport{}
}

// Begun reports whether the node may send anything by the new plan.
func (r MigrationReport) Begun() bool { return r.Done || r.Moving || r.Cursor != "" }

// Plans are those by which every node must be able to receive: the
// specification's and, while a migration arms and moves the nodes, its other
// one. The first is the specification's.
func (s *Snapshot) Plans() []Plan {
	if s.Spec == nil {
		return nil
	}
	plans := []Plan{s.Spec.Plan()}
	if s.Arms() {
		plans = append(plans, s.Migration.To)
	}
	return plans
}

// Arms reports whether the migration under way has come so far that nodes arm
// themselves: all have looked whether they can go along, and none cannot. Once a
// node is armed that stays so, whatever another that joins may find: what it
// receives by may be in use.
func (s *Snapshot) Arms() bool {
	m := s.Migration
	if m == nil || m.DryRun {
		return false
	}
	for _, r := range s.Reports {
		if r.ID == m.ID && (r.Armed || r.Begun()) {
			return true
		}
	}
	if m.Undo {
		return false
	}
	phase := s.Progress().Phase
	return phase != PhaseChecking && phase != PhaseRefused
}

// Routes reports whether nodes speak BGP by any of the plans.
func (s *Snapshot) Routes() bool {
	return slices.ContainsFunc(s.Plans(), func(p Plan) bool { return p.Routes(s.Spec.PathRules) })
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
// leads to: self has moved that far, and both are armed to receive by it. An
// agent that knows no migrations is not, whatever an earlier version of it had
// said.
func (s *Snapshot) Moved(self, peer *Node) bool {
	m := s.Migration
	if m == nil || m.DryRun {
		return false
	}
	own := s.Report(self.Name)
	there := own.Done || own.Cursor != "" && peer.ID <= own.Cursor
	return there && own.Armed && peer.Migrates() && s.Report(peer.Name).Armed
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
}

// Progress computes how far the migration is; there must be one. A node that
// joins when others have moved already keeps them from nothing: its peers reach
// it by the old plan until it is armed.
func (s *Snapshot) Progress() Progress {
	m := s.Migration
	p := Progress{Pause: m.Pause}
	var n phases
	for _, peer := range s.Peers {
		r := s.Report(peer.Name)
		if part := n.sort(peer, r); !part {
			p.Left = append(p.Left, peer.Name)
		} else if m.Moves(&peer.Node) && (!r.Done || r.Moving) {
			n.unmoved = append(n.unmoved, peer.Name)
		}
	}
	p.Phase, p.Waiting = n.phase(m)
	slices.SortFunc(p.Left, strings.Compare)
	slices.SortFunc(p.Waiting, strings.Compare)
	p.Waiting = slices.Compact(p.Waiting)
	return p
}

// Migrates reports whether the node's agent takes part in migrations.
func (n *Node) Migrates() bool { return slices.Contains(n.Features, FeatureMigrate) }

// phases are the names of the nodes that are not beyond a phase; moved are those
// that may send something by the new plan.
type phases struct{ unchecked, refused, unarmed, unmoved, moved []string }

// sort puts a node where it is, and reports whether it takes part. One whose
// agent is gone may have moved before that, and sends as it did; one that knows
// no migrations sends by the old plan, whatever it did in an earlier life.
func (n *phases) sort(peer *Peer, r MigrationReport) (part bool) {
	if peer.Migrates() && r.Begun() {
		n.moved = append(n.moved, peer.Name)
	}
	switch {
	case !peer.Alive || !peer.Migrates():
		return false
	case len(r.Checks) == 0:
		n.unchecked = append(n.unchecked, peer.Name)
	case len(r.Failed()) > 0:
		n.refused = append(n.refused, peer.Name)
	case !r.Armed:
		n.unarmed = append(n.unarmed, peer.Name)
	}
	return true
}

func (n *phases) phase(m *Migration) (string, []string) {
	begun := len(n.moved) > 0
	switch {
	case m.Undo && begun:
		return PhaseUndoing, n.moved
	case m.Undo:
		return PhaseUndone, nil
	case len(n.refused) > 0 && !begun:
		return PhaseRefused, n.refused
	case len(n.unchecked) > 0 && !begun:
		return PhaseChecking, n.unchecked
	case m.DryRun:
		return PhaseChecked, nil
	case len(n.unarmed) > 0 && !begun:
		return PhaseArming, n.unarmed
	}
	if waiting := slices.Concat(n.unchecked, n.refused, n.unarmed, n.unmoved); len(waiting) > 0 {
		return PhaseMoving, waiting
	}
	return PhaseMoved, nil
}

// Unready is a node because of which a migration must not be finished: with the
// old plan given up by the others, its packets would be lost.
type Unready struct {
	Node   string
	Reason string // in words
	// Alive is its agent. One that is gone for good can be removed; a host that
	// is down finds the new plan when it is back.
	Alive bool
}

// Unready lists the nodes that stand against the finish of the migration, by
// name: they send by the old plan, or receive by it alone.
func (s *Snapshot) Unready() (out []Unready) {
	m := s.Migration
	for _, p := range s.Peers {
		r := s.Report(p.Name)
		reason := ""
		switch {
		case !p.Migrates():
			reason = "its agent knows no migrations and sends by the old plan"
		case !r.Armed:
			reason = "it does not receive by the new plan yet"
		case m.Moves(&p.Node) && !r.Done || r.Moving:
			reason = "it still sends by the old plan"
		default:
			continue
		}
		if !p.Alive {
			reason = "its agent is gone; " + reason
		}
		out = append(out, Unready{Node: p.Name, Reason: reason, Alive: p.Alive})
	}
	slices.SortFunc(out, func(a, b Unready) int { return strings.Compare(a.Node, b.Node) })
	return out
}

package cli

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/fabric"
)

// Why nodes take no part in a migration.
const (
	whyGone = "its agent is gone; it sends on as it did, and moves when weftd runs there again"
	whyOld  = "its weftd knows no migrations: it stays with the old way; upgrade it before you finish"
)

// tally counts how far a migration is. Nodes that take no part are not among
// those that it counts.
type tally struct {
	fabric.Progress
	snap *fabric.Snapshot
	why  map[string]string // by name of those that take no part

	nodes           int // that take part: they look, and arm themselves
	answered, armed int // of these
	movers, done    int // those that move, and have
	peersDone       int
	peersAll        int
	rate            int
	busy            string // who moves its peers now
}

// tallyOf counts; a migration must be under way.
func tallyOf(snap *fabric.Snapshot) tally {
	t := tally{Progress: snap.Progress(), snap: snap, why: map[string]string{}, rate: snap.Migration.Rate}
	for _, p := range snap.Peers {
		r := snap.Report(p.Name)
		_, left := slices.BinarySearch(t.Left, p.Name)
		switch {
		case left && p.Alive:
			t.why[p.Name] = whyOld
		case left:
			t.why[p.Name] = whyGone
		default:
			t.nodes++
			t.answered += one(len(r.Checks) > 0)
			t.armed += one(r.Armed)
		}
		t.count(p, r, left)
	}
	return t
}

// count adds what a node has moved.
func (t *tally) count(p *fabric.Peer, r fabric.MigrationReport, left bool) {
	if !t.snap.Migration.Moves(&p.Node) || left && r.Cursor == "" && !r.Done {
		return
	}
	t.movers++
	total := r.Total
	if total == 0 { // it has not said yet
		total = len(t.snap.Peers) - 1
	}
	t.peersAll += max(total, r.Moved)
	t.peersDone += r.Moved
	if r.Done && !r.Moving {
		t.done++
	}
	if r.Moving {
		t.busy = fmt.Sprintf("%s: %d of %d", p.Name, r.Moved, max(total, r.Moved))
		if !p.Alive {
			t.busy += ", its agent is gone"
		}
	}
}

// one is 1 for what is so.
func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// first names who is waited for, in a few words.
func (t *tally) first() string {
	if len(t.Waiting) == 0 {
		return ""
	}
	return "waits for " + some(t.Waiting, 2)
}

// waitWords says what the nodes that are waited for say, the first few of them.
// Where one is at it, the others wait for that one.
func (t *tally) waitWords(now time.Time) (out []string) {
	const most = 5
	names := slices.DeleteFunc(slices.Clone(t.Waiting), func(name string) bool { return !t.snap.Report(name).Moving })
	if len(names) == 0 {
		names = t.Waiting
	}
	for i, name := range names {
		if i == most {
			return append(out, fmt.Sprintf("and %d more", len(names)-most))
		}
		out = append(out, fmt.Sprintf("for %s: %s", name, t.says(name, now)))
	}
	return out
}

// says is what a node waits for, in its own words if it has any.
func (t *tally) says(name string, now time.Time) string {
	r := t.snap.Report(name)
	i := slices.IndexFunc(t.snap.Peers, func(p *fabric.Peer) bool { return p.Name == name })
	switch {
	case i >= 0 && !t.snap.Peers[i].Alive:
		return "its agent is gone; start weftd there, or take the node out with `weft node remove` if it is gone for good"
	case r.Reason != "":
		return r.Reason
	case r.ID == "":
		return "it has not said anything yet; `weft status` there shows whether it reaches etcd"
	}
	return cmp.Or(t.checkTrouble(r), "it does not say why; it last spoke "+span(now.Sub(r.At))+" ago")
}

func (t *tally) checkTrouble(r fabric.MigrationReport) string {
	if failed := r.Failed(); len(failed) > 0 {
		return failed[0].Name + ": " + failed[0].Text
	}
	return ""
}

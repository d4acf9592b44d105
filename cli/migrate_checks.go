package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weft-net/weft/fabric"
)

// mostRows is how many nodes a table of checks lists of which there is nothing
// to say; of more it lists those that have failed or warn.
const mostRows = 20

// theChecks in the order in which they are shown; others come behind them.
var theChecks = [...]string{"version", "plan", "mtu", "firewall", "overlay", "rp_filter", "sessions", "probes"}

// checksText is what the nodes found before anything moves: a table of what is
// not well anywhere, and below it the nodes' own words, which say what to do.
func checksText(snap *fabric.Snapshot) string {
	var b strings.Builder
	say := sayer(&b, false)
	well, unwell, nodes := sortChecks(snap)
	if len(unwell) > 0 {
		b.WriteString(checksTable(snap, unwell).String())
	}
	if len(well) > 0 {
		say("checked", fmt.Sprintf("%s, ok everywhere: %s", count(nodes, "node", "nodes"), strings.Join(well, ", ")))
	}
	for _, f := range findings(snap) {
		say(f.margin(), f.words())
	}
	return b.String()
}

// sortChecks tells the checks that pass on every node from those that do not.
func sortChecks(snap *fabric.Snapshot) (well, unwell []string, nodes int) {
	all, bad := map[string]bool{}, map[string]bool{}
	for _, p := range snap.Peers {
		checks := snap.Report(p.Name).Checks
		if len(checks) > 0 {
			nodes++
		}
		for _, c := range checks {
			all[c.Name] = true
			bad[c.Name] = bad[c.Name] || noteworthy(c)
		}
	}
	for name := range all {
		if bad[name] {
			unwell = append(unwell, name)
		} else {
			well = append(well, name)
		}
	}
	byPlace := func(a, b string) int { return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a, b)) }
	slices.SortFunc(well, byPlace)
	slices.SortFunc(unwell, byPlace)
	return well, unwell, nodes
}

// checksTable has a line for each node that has looked. Of many nodes it leaves
// those out of which there is nothing to say.
func checksTable(snap *fabric.Snapshot, names []string) *table {
	t := newTable(false, append([]string{"NODE…"}, headings(names)...)...)
	for _, p := range byName(snap.Peers) {
		r := snap.Report(p.Name)
		if len(r.Checks) > 0 && (len(snap.Peers) <= mostRows || slices.ContainsFunc(r.Checks, noteworthy)) {
			t.add(append([]string{p.Name}, results(r, names)...)...)
		}
	}
	return t
}

func byName(peers []*fabric.Peer) []*fabric.Peer {
	peers = slices.Clone(peers)
	slices.SortFunc(peers, func(a, b *fabric.Peer) int { return strings.Compare(a.Name, b.Name) })
	return peers
}

func noteworthy(c fabric.Check) bool { return c.Result != fabric.CheckOK }

func place(check string) int {
	if i := slices.Index(theChecks[:], check); i >= 0 {
		return i
	}
	return len(theChecks)
}

func headings(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToUpper(n)
	}
	return out
}

// results are a node's, by the names of checks, the worst of each; "-" for one
// that it did not make.
func results(r fabric.MigrationReport, names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		worst := 0
		for _, c := range r.Checks {
			if c.Name == name {
				worst = max(worst, slices.Index(severity[:], c.Result)+1)
			}
		}
		out[i] = [...]string{"-", "ok", "warn", "FAILED"}[worst]
	}
	return out
}

// severity of the results, the worst last.
var severity = [...]string{fabric.CheckOK, fabric.CheckWarning, fabric.CheckFailed}

// finding is what several nodes found alike.
type finding struct {
	fabric.Check
	nodes []string
}

// findings are what is not well, failures first, the same of many nodes once.
func findings(snap *fabric.Snapshot) (out []finding) {
	for _, p := range byName(snap.Peers) {
		for _, c := range snap.Report(p.Name).Checks {
			if !noteworthy(c) {
				continue
			}
			i := slices.IndexFunc(out, func(f finding) bool { return f.Check == c })
			if i < 0 {
				i = len(out)
				out = append(out, finding{Check: c})
			}
			out[i].nodes = append(out[i].nodes, p.Name)
		}
	}
	slices.SortStableFunc(out, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.margin(), b.margin()), cmp.Compare(place(a.Name), place(b.Name)))
	})
	return out
}

func (f finding) margin() string {
	if f.Result == fabric.CheckFailed {
		return "FAILED"
	}
	return f.Result
}

// words say what was found and where.
func (f finding) words() string {
	return fmt.Sprintf("%s on %s: %s", f.Name, some(f.nodes, 3), cmp.Or(f.Text, "it does not say why"))
}

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
var theChecks = [...]string{"version", "mtu", "rp_filter", "firewall", "sessions", "probes"}

// whatToDo about a check that does not pass.
func whatToDo(check string) string {
	switch check {
	case "version":
		return "upgrade weftd there"
	case "mtu":
		return "raise the MTU of its underlay, or set a smaller one for the pods (--mtu of `weft migrate vxlan`)"
	case "rp_filter":
		return "let it be 0 or 2 there (sysctl net.ipv4.conf.*.rp_filter): 1 drops what arrives by another interface"
	case "firewall":
		return "let the new way pass there, in and forwarded"
	case "sessions":
		return "`weft bgp peers` there says why"
	case "probes":
		return "`weft peers` there shows what each way says"
	}
	return ""
}

// checksText is what the nodes found before anything moves: a table, and below
// it in words what failed, and what to do about it.
func checksText(snap *fabric.Snapshot) string {
	var names []string
	var rows []*fabric.Peer
	quiet := 0
	for _, p := range byName(snap.Peers) {
		r := snap.Report(p.Name)
		if len(r.Checks) == 0 {
			continue
		}
		for _, c := range r.Checks {
			if !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
		}
		if len(snap.Peers) > mostRows && !slices.ContainsFunc(r.Checks, noteworthy) {
			quiet++
			continue
		}
		rows = append(rows, p)
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(place(a), place(b)) })
	t := newTable(false, append([]string{"NODE…"}, headings(names)...)...)
	for _, p := range rows {
		t.add(append([]string{p.Name}, results(snap.Report(p.Name), names)...)...)
	}
	var b strings.Builder
	b.WriteString(t.String())
	if quiet > 0 {
		fmt.Fprintf(&b, "%s: all ok\n", count(quiet, "other node", "other nodes"))
	}
	say := sayer(&b, false)
	for _, f := range findings(snap) {
		say(f.margin(), f.words()...)
	}
	return b.String()
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

// results are a node's, by the names of checks: "-" for one that it did not make.
func results(r fabric.MigrationReport, names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = "-"
		for _, c := range r.Checks {
			if c.Name == name {
				out[i] = c.Result
			}
			if c.Name == name && c.Result == fabric.CheckFailed {
				out[i] = "FAILED"
			}
		}
	}
	return out
}

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

// words say what was found where, and what to do.
func (f finding) words() []string {
	out := []string{fmt.Sprintf("%s on %s: %s", f.Name, some(f.nodes, 3), cmp.Or(f.Text, "it does not say why"))}
	if todo := whatToDo(f.Name); todo != "" {
		out = append(out, "-> "+todo)
	}
	return out
}

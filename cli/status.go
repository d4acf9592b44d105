package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Show how this host's agent is and how it reaches its peers", Args: args(),
		Long: "Show how this host's agent is and how it reaches its peers. Exits with 3 while the\nnode is not ready.",
	}
	f := formFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		n, err := a.config()
		if err != nil {
			return err
		}
		client := api.Dial(n.RunDir)
		s, err := client.Status(cmd.Context())
		if err != nil {
			return noAgent(err, n.RunDir)
		}
		if *f == formTable || *f == formWide {
			// An agent of an older version has no answer; one that routes has.
			b, err := client.BGP(cmd.Context())
			if err != nil {
				b = nil
			}
			a.printf("%s", statusText(s, b, a.Now(), *f == formWide))
		} else if err := a.print(*f, s, nil); err != nil {
			return err
		}
		if !s.Ready {
			return answerNo()
		}
		return nil
	}
	return cmd
}

func (a *app) holdCommand() *cobra.Command {
	cmd := group("hold", "Commands about what is held back from removal", "")
	release := &cobra.Command{
		Use: "release", Short: "Let this node forget what vanished all at once", Args: args(),
		Long: "Let this node forget the peers, objects of BGP, drains and the migration that\nvanished from etcd all at once. weftd keeps the routes to such peers, and such\nobjects in force, until somebody says that it was meant, since an etcd that was wiped or restored\nlooks the same. Each node holds and releases for itself.",
	}
	release.RunE = func(cmd *cobra.Command, _ []string) error {
		n, err := a.config()
		if err != nil {
			return err
		}
		if err := api.Dial(n.RunDir).ReleaseHold(cmd.Context()); err != nil {
			return noAgent(err, n.RunDir)
		}
		a.printf("released\n")
		return nil
	}
	cmd.AddCommand(release)
	return cmd
}

// margin is the width of the words before what is said, in columns.
const margin = 10

// sayer writes texts with a word in the margin, broken to fit a screen.
func sayer(b io.Writer, wide bool) func(what string, texts ...string) {
	return func(what string, texts ...string) {
		for _, text := range texts {
			lines := []string{text}
			if !wide {
				lines = wrap(text, screen-margin)
			}
			for _, line := range lines {
				fmt.Fprintf(b, "%-*s%s\n", margin, what, line)
				what = ""
			}
		}
	}
}

// statusText is a node's state in words: what is wrong first, the peers last.
// b is the speaker's, nil where nothing is known of one.
func statusText(s *api.Status, b *api.BGP, now time.Time, wide bool) string {
	var out strings.Builder
	say := sayer(&out, wide)
	say("node", fmt.Sprintf("%s, weftd %s, up %s", s.Node, cmp.Or(s.Version, "?"), span(now.Sub(s.Started))))
	if wide {
		say("id", string(s.NodeID))
	}
	say("ready", readyWords(s)...)
	say("lease", leaseLines(s.Lease)...)
	if s.Underlay.Interface != "" {
		say("underlay", fmt.Sprintf("%s, %s, mtu %d", s.Underlay.Interface, addrs(s.Underlay.Addrs), s.Underlay.MTU))
	}
	if s.MTU != 0 {
		say("pods", fmt.Sprintf("mtu %d", s.MTU))
	}
	say("etcd", etcdWords(s.Etcd, now))
	if b != nil && b.Enabled {
		say("bgp", bgpWords(b))
	}
	if m := s.Migration; m != nil {
		say("migration", migrationLines(m)...)
	}
	say("repaired", repairedWords(s.Repaired))
	if h := s.Hold; h != nil {
		say("hold", holdWords(h, now), "`weft hold release` lets them go if that was meant")
	}
	for _, p := range s.Problems {
		say("problem", fmt.Sprintf("%s: %s", p.Key, p.Reason))
	}
	say("conflict", s.Conflicts...)
	say("failed", s.Failed...)
	say("drops", dropsWords(s.Reduced)...)
	if len(s.Silent) > 0 {
		say("silent", fmt.Sprintf("%s: the path in use answers no probe; see `weft peers NAME`", some(s.Silent, 3)))
	}
	say("peers", peersWords(s.Peers))
	if len(s.Peers) > 0 {
		out.WriteString("\n" + peersTable(s.Peers, wide).String())
	}
	if slices.ContainsFunc(s.Peers, incomplete) {
		out.WriteString("\n! the kernel does not hold all of it\n")
	}
	return out.String()
}

// migrationLines say how far a migration is on this node.
func migrationLines(m *api.Migration) []string {
	out := []string{fmt.Sprintf("%s, %d of %s here", m.Phase, m.Moved, count(m.Total, "peer", "peers"))}
	if m.Paused != "" {
		out = append(out, "paused: "+m.Paused)
	}
	if m.Reason != "" {
		out = append(out, m.Reason)
	}
	return append(out, "`weft migrate status` has all nodes")
}

// dropsWords name the paths that drop packets of full size, the first few.
func dropsWords(reduced []api.Reduced) (out []string) {
	const most = 5
	reduced = slices.SortedFunc(slices.Values(reduced), func(a, b api.Reduced) int {
		return cmp.Or(strings.Compare(a.Peer, b.Peer), strings.Compare(a.Family, b.Family))
	})
	for i, r := range reduced {
		if i == most {
			return append(out, fmt.Sprintf("and %s", count(len(reduced)-most, "path more", "paths more")))
		}
		out = append(out, fmt.Sprintf("%s by %s (%s): %d bytes arrive, %d do not", r.Peer, r.Path, r.Family, r.MTU, r.Full))
	}
	return out
}

// holdWords says how much of what is held back, for how long and why.
func holdWords(h *fabric.Hold, now time.Time) string {
	var what []string
	if h.Peers > 0 {
		what = append(what, count(h.Peers, "peer", "peers"))
	}
	if h.Objects > 0 {
		what = append(what, count(h.Objects, "object", "objects"))
	}
	are := "are"
	if h.Peers+h.Objects == 1 {
		are = "is"
	}
	return fmt.Sprintf("%s %s held back for %s: %s", strings.Join(what, " and "), are, span(now.Sub(h.Since)), h.Reason)
}

// incomplete reports whether a peer has a path that the kernel lacks a part of.
func incomplete(p api.Peer) bool { return !p.Programmed && p.Path != "none" }

func readyWords(s *api.Status) []string {
	if s.Ready {
		return []string{"yes"}
	}
	reasons := s.NotReady
	if len(reasons) == 0 {
		reasons = []string{"it does not say why"}
	}
	lines := slices.Clone(reasons)
	lines[0] = "no: " + lines[0]
	return lines
}

// leaseLines say what share a node has of the fabric, a few subnets to a line.
func leaseLines(l api.Lease) []string {
	const most = 3
	if len(l.Subnets) > most && l.State == "leased" {
		var out []string
		for some := range slices.Chunk(l.Subnets, most) {
			out = append(out, list(some))
		}
		out[len(out)-1] += fmt.Sprintf(" (index %d)", l.Index)
		return append(out, nonEmpty(l.Reason)...)
	}
	var parts []string
	if l.State != "leased" {
		parts = append(parts, l.State)
	}
	if len(l.Subnets) > 0 {
		parts = append(parts, fmt.Sprintf("%s (index %d)", list(l.Subnets), l.Index))
	}
	return []string{strings.Join(append(parts, nonEmpty(l.Reason)...), ": ")}
}

func nonEmpty(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

func etcdWords(e api.Etcd, now time.Time) string {
	text := "connected"
	if !e.Connected {
		text = "not connected"
	}
	switch {
	case e.Cached:
		text += fmt.Sprintf("; works from the copy of revision %d kept %s ago", e.Revision, span(now.Sub(e.Taken)))
	case e.Revision == 0:
		text += ", nothing read yet"
	default:
		text += fmt.Sprintf(", revision %d, confirmed %s ago", e.Revision, span(now.Sub(e.Taken)))
	}
	if e.Error != "" {
		text += ": " + e.Error
	}
	return text
}

// repairedWords says what others broke, by kind: "3 (2 route, 1 neigh)".
func repairedWords(by map[string]uint64) string {
	var sum uint64
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(by)) {
		if n := by[kind]; n > 0 {
			sum += n
			parts = append(parts, fmt.Sprintf("%d %s", n, kind))
		}
	}
	if sum == 0 {
		return "nothing since the start"
	}
	return fmt.Sprintf("%d since the start (%s)", sum, strings.Join(parts, ", "))
}

func peersWords(peers []api.Peer) string {
	if len(peers) == 0 {
		return "none"
	}
	programmed, by := 0, make(map[string]int)
	for _, p := range peers {
		if p.Programmed {
			programmed++
		}
		by[p.Path]++
	}
	var parts []string
	for _, path := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%d %s", by[path], path))
	}
	return fmt.Sprintf("%d of %d programmed (%s)", programmed, len(peers), strings.Join(parts, ", "))
}

func peersTable(peers []api.Peer, wide bool) *table {
	peers = slices.Clone(peers)
	slices.SortFunc(peers, func(a, b api.Peer) int { return strings.Compare(a.Name, b.Name) })
	head := []string{"PEER…", "AGENT", "PATH", "SUBNETS", "REASON…"}
	if wide {
		head = append(head, "UNDERLAY", "ID")
	}
	t := newTable(wide, head...)
	for _, p := range peers {
		agent := aliveWord(p.Alive)
		if p.Held {
			agent = "held"
		}
		path := p.Path
		if incomplete(p) {
			path += "!"
		}
		subnets := list(p.Subnets)
		if n := len(p.Subnets); n > 1 && !wide {
			subnets = fmt.Sprintf("%s +%d", p.Subnets[0], n-1) // the reason says more
		}
		cells := []string{p.Name, agent, path, subnets, p.Reason}
		if wide {
			underlay := "-"
			if p.Underlay.IsValid() {
				underlay = p.Underlay.String()
			}
			cells = append(cells, underlay, string(p.ID))
		}
		t.add(cells...)
	}
	return t
}

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/agent/api"
)

// Words of the agent.
const (
	pathUnreachable = "unreachable"
	pathNone        = "none"
	stateUp         = "up" // of a way
)

const peersHelp = `Show how this host reaches its peers, and why: for each peer and family the path
in use, the largest packet that pods can send by it, and for how long it has been
so. "->" is the path that will be taken once it has been stable and has answered
a probe; "1400<1500" is a path that carries less than pods mean to send.

With NAME all ways to that peer, in order of preference, and what is known of
each. Exits with 3 while a peer cannot be reached.`

func (a *app) peersCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "peers [NAME]", Short: "Show how this host reaches its peers, and why", Args: args("[NAME]"), Long: peersHelp}
	f := formFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		name := strings.Join(given, "")
		peers, err := askAgent(cmd.Context(), a, func(ctx context.Context, c *api.Client) ([]api.PeerPaths, error) { return c.Peers(ctx, name) })
		switch {
		case err != nil:
			return err
		case len(peers) == 0 && name != "":
			return &failure{code: exitFailed, err: fmt.Errorf("this host has no peer %s", name), hint: "`weft peers` lists them"}
		case len(peers) == 0:
			fmt.Fprintln(a.Err, "note: this host knows of no other node")
		}
		slices.SortFunc(peers, func(x, y api.PeerPaths) int { return strings.Compare(x.Name, y.Name) })
		wide := *f == formWide
		switch {
		case *f != formTable && !wide:
			err = a.print(*f, peers, nil)
		case name != "":
			a.printf("%s", peerText(peers[0], a.Now(), wide))
		default:
			err = a.print(*f, nil, func(wide bool) *table { return pathsTable(peers, a.Now(), wide) })
		}
		if err == nil && slices.ContainsFunc(peers, cutOff) {
			return answerNo()
		}
		return err
	}
	return cmd
}

// cutOff reports whether a family of a peer cannot be reached.
func cutOff(p api.PeerPaths) bool {
	return slices.ContainsFunc(p.Families, func(f api.FamilyPath) bool { return f.Path == pathUnreachable || f.Path == pathNone })
}

// pathsTable has a line for each family of each peer. Where both are reached
// alike, which is nearly always, it has one for both.
func pathsTable(peers []api.PeerPaths, now time.Time, wide bool) *table {
	head := []string{"PEER…", "FAMILY", "PATH", "MTU", "FOR", "REASON…"}
	if wide {
		head = append(head, "CHANGES", "WAYS", "AGENT", "ID")
	}
	t := newTable(wide, head...)
	for _, p := range peers {
		families := p.Families
		if !wide && alike(families) {
			families = families[:1]
		}
		if len(families) == 0 {
			families = []api.FamilyPath{{Family: "-", Path: pathNone, Reason: "it has no subnets"}}
		}
		for _, f := range families {
			family := f.Family
			if len(families) < len(p.Families) {
				family = "both"
			}
			cells := []string{p.Name, family, pathWord(f), mtuWord(f), since(f, now), why(f)}
			if wide {
				cells = append(cells, strconv.Itoa(f.Switches), waysWord(f.Offers), aliveWord(p.Alive), string(p.ID))
			}
			t.add(cells...)
		}
	}
	return t
}

// why says what keeps a peer from being reached in a better way, the next better
// first, or, where there is none, how it is reached.
func why(f api.FamilyPath) string {
	used := slices.IndexFunc(f.Offers, func(o api.PathOffer) bool { return o.Path == f.Path })
	if used < 0 {
		return f.Reason
	}
	var better []string
	for _, o := range slices.Backward(f.Offers[:used]) {
		if o.State != stateUp {
			better = append(better, "no "+o.Path+": "+o.Reason)
		}
	}
	switch {
	case len(better) > 0:
		return strings.Join(better, "; ")
	case used == 0:
		return cmp.Or(f.Offers[0].Reason, f.Reason)
	}
	return f.Reason // a better way is up: it must be stable first, or answer
}

// alike reports whether all families of a peer are reached the same way, as far
// as the table shows.
func alike(families []api.FamilyPath) bool {
	return len(families) > 1 && !slices.ContainsFunc(families[1:], func(f api.FamilyPath) bool {
		first := families[0]
		return f.Path != first.Path || f.Next != first.Next || f.MTU != first.MTU || f.Full != first.Full || f.Switches != first.Switches
	})
}

// pathWord is the path in use, and the one to come.
func pathWord(f api.FamilyPath) string {
	if f.Next != "" {
		return f.Path + "->" + f.Next
	}
	return f.Path
}

// mtuWord is what the path carries, marked where that is less than it should.
func mtuWord(f api.FamilyPath) string {
	switch {
	case f.MTU == 0:
		return "-"
	case f.MTU < f.Full:
		return fmt.Sprintf("%d<%d", f.MTU, f.Full)
	}
	return strconv.Itoa(f.MTU)
}

func since(f api.FamilyPath, now time.Time) string {
	if f.Since.IsZero() {
		return "-"
	}
	return span(now.Sub(f.Since))
}

func changes(n int) string {
	if n == 0 {
		return "no change"
	}
	return count(n, "change", "changes")
}

// waysWord lists the ways by preference: "direct up, vxlan gone".
func waysWord(offers []api.PathOffer) string {
	words := make([]string, len(offers))
	for i, o := range offers {
		words[i] = o.Path + " " + o.State
	}
	return cmp.Or(strings.Join(words, ", "), "-")
}

// peerText is all that is known of the ways to one peer.
func peerText(p api.PeerPaths, now time.Time, wide bool) string {
	var out strings.Builder
	say := sayer(&out, wide)
	say("peer", fmt.Sprintf("%s, its agent is %s", p.Name, aliveWord(p.Alive)))
	if wide {
		say("id", string(p.ID))
	}
	if len(p.Families) == 0 {
		say("path", "none: it has no subnets")
	}
	for _, f := range p.Families {
		out.WriteByte('\n')
		say(f.Family, fmt.Sprintf("%s: %s", f.Path, f.Reason))
		if !f.Since.IsZero() {
			say("for", fmt.Sprintf("%s, %s since the agent's start", since(f, now), changes(f.Switches)))
		}
		if f.Next != "" {
			say("next", f.Next+", once it has been stable and has answered a probe")
		}
		say("mtu", mtuWords(f))
		out.WriteString(offersTable(f, wide).String())
	}
	return out.String()
}

func mtuWords(f api.FamilyPath) string {
	switch {
	case f.MTU == 0:
		return "not known"
	case f.MTU < f.Full:
		return fmt.Sprintf("%d: packets of %d, which pods may send, do not arrive", f.MTU, f.Full)
	}
	return strconv.Itoa(f.MTU)
}

func offersTable(f api.FamilyPath, wide bool) *table {
	t := newTable(wide, "WAY", "STATE", "PROBE", "MTU", "REASON…")
	used := slices.IndexFunc(f.Offers, func(o api.PathOffer) bool { return o.Path == f.Path })
	for i, o := range f.Offers {
		way := o.Path
		if i == used {
			way = "*" + way
		}
		mtu := "-"
		if o.MTU != 0 {
			mtu = strconv.Itoa(o.MTU)
		}
		t.add(way, o.State, o.Probe, mtu, o.Reason)
	}
	return t
}

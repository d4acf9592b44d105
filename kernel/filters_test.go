package kernel

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// filterText is what ForwardFilters says, a line for each chain.
func filterText(t *testing.T) string {
	t.Helper()
	filters, err := ForwardFilters()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range filters {
		fmt.Fprintf(&b, "%s, %s, by default: %t, rules: %d\n", f.Chain, f.Hook, f.ByDefault, f.Rules)
	}
	return b.String()
}

func wantFilters(t *testing.T, want string) {
	t.Helper()
	if got := filterText(t); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// Chains that drop what they do not know are listed; those that accept, that
// are at other hooks or are weft's own are not.
func TestForwardFilters(t *testing.T) {
	underlay(t)
	wantFilters(t, "")
	run(t, "nft", "-f", "testdata/filters.nft")
	before := run(t, "nft", "list", "ruleset")
	wantFilters(t, `bridge guard through, forward, by default: true, rules: 0
inet firewalld filter_INPUT, input, by default: true, rules: 0
ip filter FORWARD, forward, by default: true, rules: 0
ip6 filter FORWARD, forward, by default: true, rules: 0
`)
	if after := run(t, "nft", "list", "ruleset"); after != before {
		t.Errorf("it changed the ruleset to %s", after)
	}
}

// Chains that a rule drops in are listed wherever the rule is; one for what is
// invalid to connection tracking does not count.
func TestForwardFiltersByRules(t *testing.T) {
	underlay(t)
	run(t, "nft", "-f", "testdata/dropping.nft")
	wantFilters(t, `inet both forward, forward, by default: true, rules: 1
inet one forward, forward, by default: false, rules: 4
ip rejecting forward, forward, by default: false, rules: 1
ip6 mapped forward, forward, by default: false, rules: 2
`)
}

// As iptables-nft writes them: matches and targets of x_tables within nftables.
func TestForwardFiltersOfIptables(t *testing.T) {
	underlay(t)
	state := func(flags, inverted xt.ConntrackFlags, states uint16) *expr.Match {
		var i xt.ConntrackMtinfo3
		i.MatchFlags, i.InvertFlags, i.StateMask = uint16(flags), uint16(inverted), states
		return &expr.Match{Name: "conntrack", Rev: 3, Info: &i}
	}
	reject := &expr.Target{Name: "REJECT", Info: &xt.Unknown{0, 0, 0, 0}}
	drop := &expr.Verdict{Kind: expr.VerdictDrop}
	for _, tt := range []struct {
		name  string
		rule  []expr.Any
		drops bool
	}{
		{"-j REJECT", []expr.Any{&expr.Counter{}, reject}, true},
		{"-j DROP", []expr.Any{&expr.Counter{}, drop}, true},
		{"-m conntrack --ctstate INVALID -j DROP", []expr.Any{state(xt.ConntrackState, 0, 1), &expr.Counter{}, drop}, false},
		{"-m state --state INVALID -j DROP", []expr.Any{state(xt.ConntrackState|xt.ConntrackStateAlias, 0, 1), drop}, false},
		{"-m conntrack --ctstate INVALID -j REJECT", []expr.Any{state(xt.ConntrackState, 0, 1), reject}, false},
		{"-m conntrack ! --ctstate INVALID -j DROP", []expr.Any{state(xt.ConntrackState, xt.ConntrackState, 1), drop}, true},
		{"-m conntrack --ctstate INVALID,NEW -j DROP", []expr.Any{state(xt.ConntrackState, 0, 1|1<<3), drop}, true},
		{"-m conntrack --ctproto 1 -j DROP", []expr.Any{state(xt.ConntrackProto, 0, 1), drop}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			underlay(t)
			c, err := nftables.New()
			if err != nil {
				t.Fatal(err)
			}
			accept := nftables.ChainPolicyAccept
			table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "filter"})
			user := c.AddChain(&nftables.Chain{Table: table, Name: "USER"})
			base := c.AddChain(&nftables.Chain{
				Table: table, Name: "FORWARD", Type: nftables.ChainTypeFilter,
				Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &accept,
			})
			c.AddRule(&nftables.Rule{Table: table, Chain: user, Exprs: tt.rule})
			c.AddRule(&nftables.Rule{Table: table, Chain: base, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: "USER"}}})
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
			want := ""
			if tt.drops {
				want = "ip filter FORWARD, forward, by default: false, rules: 1\n"
			}
			wantFilters(t, want)
		})
	}
}

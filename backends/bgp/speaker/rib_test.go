package speaker

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/weft-net/weft/backends/bgp"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// told is a path as GoBGP tells it.
func toldPath(t *testing.T, prefix, peer, hop string, communities ...uint32) *apiutil.Path {
	t.Helper()
	nlri, err := packet.NewIPAddrPrefix(pfx(prefix))
	if err != nil {
		t.Fatal(err)
	}
	p := &apiutil.Path{Family: packet.RF_IPv4_UC, Nlri: nlri, PeerAddress: addr(peer), Withdrawal: hop == ""}
	if hop != "" {
		a, err := packet.NewPathAttributeNextHop(addr(hop))
		if addr(hop).Is6() {
			reach, err := packet.NewPathAttributeMpReachNLRI(packet.RF_IPv4_UC, []packet.PathNLRI{{NLRI: nlri}}, addr(hop))
			if err != nil {
				t.Fatal(err)
			}
			p.Attrs = append(p.Attrs, reach)
		} else if err != nil {
			t.Fatal(err)
		} else {
			p.Attrs = append(p.Attrs, a)
		}
	}
	if len(communities) > 0 {
		p.Attrs = append(p.Attrs, packet.NewPathAttributeCommunities(communities))
	}
	return p
}

func TestRIB(t *testing.T) {
	const p = "10.1.0.0/24"
	tests := []struct {
		name string
		most int
		told []*apiutil.Path
		want []string // next hops; nil: nothing changed
	}{
		{"one", 4, []*apiutil.Path{toldPath(t, p, "198.18.0.1", "198.18.0.1")}, []string{"198.18.0.1"}},
		{"two, sorted", 4, []*apiutil.Path{toldPath(t, p, "198.18.1.1", "198.18.1.1"), toldPath(t, p, "198.18.0.1", "198.18.0.1")}, []string{"198.18.0.1", "198.18.1.1"}},
		{"capped to the first", 1, []*apiutil.Path{toldPath(t, p, "198.18.1.1", "198.18.1.1"), toldPath(t, p, "198.18.0.1", "198.18.0.1")}, []string{"198.18.0.1"}},
		{"same next hop of two", 4, []*apiutil.Path{toldPath(t, p, "198.18.1.1", "198.18.0.9"), toldPath(t, p, "198.18.0.1", "198.18.0.9")}, []string{"198.18.0.9"}},
		{"a delta, not the set", 4, []*apiutil.Path{toldPath(t, p, "198.18.0.1", "198.18.0.1"), toldPath(t, p, "198.18.1.1", "198.18.1.1"), toldPath(t, p, "198.18.0.1", "")}, []string{"198.18.1.1"}},
		{"long-lived stale", 4, []*apiutil.Path{toldPath(t, p, "198.18.0.1", "198.18.0.1", llgrStale), toldPath(t, p, "198.18.1.1", "198.18.1.1")}, []string{"198.18.1.1"}},
		{"nothing but stale", 4, []*apiutil.Path{toldPath(t, p, "198.18.0.1", "198.18.0.1", llgrStale)}, []string{"198.18.0.1"}},
		{"withdrawn", 4, []*apiutil.Path{toldPath(t, p, "198.18.0.1", "198.18.0.1"), toldPath(t, p, "198.18.0.1", "")}, []string{}},
		{"never there", 4, []*apiutil.Path{toldPath(t, p, "198.18.0.1", "")}, nil},
		{"link-local", 4, []*apiutil.Path{toldPath(t, p, "fe80::1%eth0", "fe80::1")}, []string{"fe80::1%eth0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRIB()
			r.setMost(tt.most)
			r.update(tt.told, 0)
			changes, more := r.take(10)
			if more || len(changes) > 1 {
				t.Fatalf("changes %v, more %v", changes, more)
			}
			var got []string
			for _, c := range changes {
				got = []string{}
				for _, h := range c.NextHops {
					got = append(got, h.String())
				}
			}
			if !slices.Equal(got, tt.want) || (got == nil) != (tt.want == nil) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// However often a prefix changes, who reads slowly reads one change.
func TestRIBCoalesces(t *testing.T) {
	r := newRIB()
	for i := range 100 {
		for j := range 50 {
			r.update([]*apiutil.Path{toldPath(t, fmt.Sprintf("10.1.%d.0/24", j), "198.18.0.1", fmt.Sprintf("198.18.0.%d", i+1))}, 0)
		}
	}
	changes, more := r.take(30)
	rest, end := r.take(30)
	if len(changes) != 30 || !more || len(rest) != 20 || end {
		t.Fatalf("%d changes, more %v; then %d, more %v", len(changes), more, len(rest), end)
	}
	if want := []netip.Addr{addr("198.18.0.100")}; !slices.Equal(rest[0].NextHops, want) {
		t.Errorf("got %v, want %v", rest[0].NextHops, want)
	}
	if len(r.queue) != 0 || len(r.prefixes) != 50 {
		t.Errorf("%d queued, %d prefixes", len(r.queue), len(r.prefixes))
	}
}

// Whoever begins with nothing gets all, once, and nothing that is gone.
func TestRIBAgain(t *testing.T) {
	r := newRIB()
	r.update([]*apiutil.Path{toldPath(t, "10.1.0.0/24", "198.18.0.1", "198.18.0.1"), toldPath(t, "10.2.0.0/24", "198.18.0.1", "198.18.0.1")}, 0)
	r.take(10)
	r.update([]*apiutil.Path{toldPath(t, "10.2.0.0/24", "198.18.0.1", "")}, 0)
	r.take(10)
	for range 2 {
		if !r.again() {
			t.Error("there is no news")
		}
	}
	got, more := r.take(10)
	if len(got) != 1 || more || got[0].Prefix != pfx("10.1.0.0/24") || len(got[0].NextHops) != 1 {
		t.Errorf("got %v, more %t", got, more)
	}
}

// A new life of GoBGP's takes over route by route; what it does not tell again
// goes with the sweep, and what the old one says while it dies counts nothing.
func TestRIBLives(t *testing.T) {
	r := newRIB()
	r.setMost(4)
	r.update([]*apiutil.Path{toldPath(t, "10.1.0.0/24", "198.18.0.1", "198.18.0.1"), toldPath(t, "10.1.1.0/24", "198.18.0.1", "198.18.0.1")}, 0)
	r.take(10)
	r.newLife(1)
	if r.update([]*apiutil.Path{toldPath(t, "10.1.0.0/24", "198.18.0.1", "")}, 0) {
		t.Error("a withdrawal of the old life counts")
	}
	r.update([]*apiutil.Path{toldPath(t, "10.1.0.0/24", "198.18.0.1", "198.18.0.1")}, 1)
	r.sweep()
	changes, _ := r.take(10)
	got := map[string]int{}
	for _, c := range changes {
		got[c.Prefix.String()] = len(c.NextHops)
	}
	if want := map[string]int{"10.1.0.0/24": 1, "10.1.1.0/24": 0}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The verdicts for people follow the rules: the first that does not say next.
func TestJudge(t *testing.T) {
	rules := []bgp.Rule{
		{Name: "1", Match: bgp.Match{Communities: []bgp.Community{7}}, Action: bgp.Next, Set: bgp.Set{RemoveCommunities: []bgp.Community{7}, Attributes: bgp.Attributes{Communities: []bgp.Community{8}}}},
		{Name: "2", Match: bgp.Match{Communities: []bgp.Community{8}}, Action: bgp.Accept},
		{Name: "3", Match: bgp.Match{ASPath: "_65009_"}},
		{Name: "4", Match: bgp.Match{LargeCommunities: []bgp.LargeCommunity{{Global: 1, Local1: 2, Local2: 3}}}, Action: bgp.Accept},
		{Name: "5", Match: bgp.Match{Prefixes: []bgp.PrefixRange{{Prefix: pfx("10.0.0.0/8"), Min: 24, Max: 24}}}, Action: bgp.Accept},
	}
	j, err := newJudge(rules)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		in   bgp.Path
		want string
	}{
		{bgp.Path{Prefix: pfx("10.1.0.0/16"), Communities: []bgp.Community{7}}, "true 2"},
		{bgp.Path{Prefix: pfx("10.1.0.0/16"), ASPath: []uint32{65001, 65009, 65002}}, "false 3"},
		{bgp.Path{Prefix: pfx("10.1.0.0/16"), ASPath: []uint32{165009}}, "false no rule accepts it"},
		{bgp.Path{Prefix: pfx("10.1.0.0/16"), LargeCommunities: []bgp.LargeCommunity{{Global: 1, Local1: 2, Local2: 3}}}, "true 4"},
		{bgp.Path{Prefix: pfx("10.1.0.0/24")}, "true 5"},
		{bgp.Path{Prefix: pfx("11.1.0.0/24")}, "false no rule accepts it"},
		{bgp.Path{Prefix: pfx("10.1.0.0/25")}, "false no rule accepts it"},
	}
	for _, tt := range tests {
		ok, rule := j.decide(tt.in)
		if got := fmt.Sprint(ok, " ", rule); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

// Sessions with the same rules share their statements, and no two statements a
// name.
func TestCompileShares(t *testing.T) {
	var few, many []*party
	for i := range 100 {
		s := toTor()
		p := &party{Session: &s, far: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, 0, byte(i)}), 32), asn: 65002}
		if many = append(many, p); i < 2 {
			few = append(few, p)
		}
	}
	a, b := compile(few, nil), compile(many, nil)
	names := map[string]bool{}
	for i, p := range b.Policies {
		if len(p.Statements) != len(a.Policies[i].Statements) {
			t.Errorf("%s: %d statements for two sessions, %d for a hundred", p.Name, len(a.Policies[i].Statements), len(p.Statements))
		}
		for _, s := range p.Statements {
			if names[s.Name] {
				t.Errorf("two statements are called %s", s.Name)
			}
			names[s.Name] = true
		}
	}
}

// A password is in no key, log or error.
func TestSecretsStaySecret(t *testing.T) {
	s := toTor()
	s.Password = bgp.Secret(strings.Repeat("s3cret", 20))
	p := &party{Session: &s, far: pfx("198.18.0.1/32"), asn: 65002}
	for _, text := range []string{p.importKey(), p.exportKey(), fmt.Sprint(check(s)), fmt.Sprintf("%+v %#v", told(bgp.Global{}, s), told(bgp.Global{}, s))} {
		if strings.Contains(text, "s3cret") {
			t.Errorf("the password is in %q", text)
		}
	}
}

package speaker

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/internal/testbgp"
)

// established counts how often FRR's session came up.
func (f *frr) established(neighbour string) int {
	f.t.Helper()
	var out map[string]struct{ ConnectionsEstablished int }
	if err := json.Unmarshal([]byte(f.Show("show bgp neighbors "+neighbour+" json")), &out); err != nil {
		f.t.Fatal(err)
	}
	return out[neighbour].ConnectionsEstablished
}

// What one switch tells goes into the host and never to the other one, whatever
// the export rules accept.
func TestNoTransit(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	far := n.frr(torConfig("198.18.0.2", "65002"))
	other := n.bird(birdConfig)
	s := n.speaker()
	d := wanted(toTor(), toBird())
	s.set(d)
	testbgp.Poll(t, "both ways to what both tell", func() (bool, string) {
		r := s.routes()
		return len(r) == 3 && len(r[pfx("10.9.0.0/24")]) == 2, fmt.Sprint(r)
	})
	// A route that comes later has arrived when whatever came before it would have.
	mark := func(prefix string) {
		d.Announcements = append(d.Announcements, bgp.Announcement{Prefix: pfx(prefix)})
		s.set(d)
		far.has("ipv4", prefix, true)
		other.has(prefix, true)
	}
	mark("10.1.1.0/24")
	if out := far.Show("show bgp ipv4 unicast"); strings.Contains(out, "10.8.0.0/24") {
		t.Errorf("FRR was told of BIRD's route:\n%s", out)
	}
	if a := s.call(request{Op: "advertised", Key: "tors/198.18.0.1"}); len(a.Paths) != 3 {
		t.Errorf("advertised: %v", a.Paths)
	}
	d.Global.Transit = true // the check does see transit
	s.set(d)
	far.has("ipv4", "10.8.0.0/24", true)
	d.Global.Transit = false
	s.set(d)
	far.has("ipv4", "10.8.0.0/24", false)
	if far.established("198.18.0.2") != 1 {
		t.Error("the session was reset")
	}
}

// Policies, limits, timers, descriptions and announcements change without a
// reset, and take effect on routes that are there.
func TestChangesInPlace(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	far := n.frr(torConfig("198.18.0.2", "65002"))
	s := n.speaker()
	session := toTor()
	s.set(wanted(session))
	s.established(session.Key)
	far.has("ipv4", "10.1.0.0/24", true)
	testbgp.Poll(t, "routes", func() (bool, string) { r := s.routes(); return len(r) == 2, fmt.Sprint(r) })

	// Import: one rule keeps the IPv4 route out and has a name.
	session.Import = []bgp.Rule{
		{Name: "in/1", Match: bgp.Match{Prefixes: []bgp.PrefixRange{{Prefix: pfx("10.0.0.0/8"), Min: 16, Max: 24}}, ASPath: "^65001$"}},
		{Name: "in/2", Action: bgp.Accept},
	}
	s.set(wanted(session))
	testbgp.Poll(t, "the IPv4 route gone", func() (bool, string) { r := s.routes(); return len(r) == 1, fmt.Sprint(r) })
	rejected := map[string]string{}
	for _, p := range s.call(request{Op: "received", Key: session.Key}).Paths {
		rejected[p.Prefix.String()] = p.Rejected
	}
	if rejected["10.9.0.0/24"] != "in/1" || rejected["fd99::/64"] != "" || !strings.HasPrefix(rejected["10.1.0.0/24"], "loop") {
		t.Errorf("received and rejected: %v", rejected)
	}

	// Export: attributes, and what is removed before others are added.
	med := uint32(77)
	session.Import = all()
	session.Export = []bgp.Rule{
		{Name: "out/1", Match: bgp.Match{Communities: []bgp.Community{65002<<16 | 1}}, Action: bgp.Next, Set: bgp.Set{
			RemoveCommunities: []bgp.Community{65002<<16 | 1},
			Attributes: bgp.Attributes{
				Communities: []bgp.Community{65002<<16 | 2}, LargeCommunities: []bgp.LargeCommunity{{Global: 65002, Local1: 1, Local2: 2}},
				MED: &med, Prepend: 2,
			},
		}},
		{Name: "out/2", Match: bgp.Match{Prefixes: []bgp.PrefixRange{{Prefix: pfx("fd10::/16"), Min: 64, Max: 64}}}},
		{Name: "out/3", Action: bgp.Accept},
	}
	d := wanted(session)
	d.Announcements[0].Communities = []bgp.Community{65002<<16 | 1}
	d.Announcements[0].Prepend = 1
	s.set(d)
	testbgp.Poll(t, "attributes at FRR", func() (bool, string) {
		out := far.Show("show bgp ipv4 unicast 10.1.0.0/24")
		ok := strings.Contains(out, "Community: 65002:2\n") && strings.Contains(out, "Large Community: 65002:1:2") &&
			strings.Contains(out, "metric 77") && strings.Contains(out, "65002 65002 65002 65002\n") && !strings.Contains(out, "65002:1\n")
		return ok, out
	})
	far.has("ipv6", "fd10:1::/64", false)
	testbgp.Poll(t, "the IPv4 route back", func() (bool, string) { r := s.routes(); return len(r) == 2, fmt.Sprint(r) })

	// The rest.
	session.Export, session.Description, session.MaxPrefixes = all(), "new", 1000
	session.Hold, session.Keepalive, session.ConnectRetry = 30*time.Second, 10*time.Second, 5*time.Second
	d = wanted(session)
	d.Global.Multipath, d.Global.RestartTime = 1, 60*time.Second
	d.Announcements = d.Announcements[1:]
	s.set(d)
	far.has("ipv4", "10.1.0.0/24", false)
	far.has("ipv6", "fd10:1::/64", true)
	testbgp.Poll(t, "the census", func() (bool, string) {
		st := s.session(session.Key)
		return st.Hold == 9*time.Second && st.Families.IPv4.Advertised == 0, fmt.Sprintf("%+v", st)
	})
	if st := s.session(session.Key); far.established("198.18.0.2") != 1 || st.Flaps != 0 {
		t.Errorf("the session was reset %d times: %+v", far.established("198.18.0.2")-1, st)
	}

	// What is in the OPEN resets.
	session.LocalASN = 65003
	s.set(wanted(session))
	testbgp.Poll(t, "a reset", func() (bool, string) {
		st := s.session(session.Key)
		return st.State != bgp.Established, fmt.Sprintf("%+v", st)
	})
}

// A session that cannot be is a session less, not a speaker less.
func TestBadSessionsCostThemselves(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	far := n.frr(torConfig("198.18.0.2", "65002"))
	station, err := net.Listen("tcp", "198.18.0.1:5001")
	if err != nil {
		t.Fatal(err)
	}
	defer station.Close()
	s := n.speaker()
	bad := toBird()
	bad.Key, bad.Address = "bad/1", netip.MustParseAddr("198.18.1.66")
	bad.Export = []bgp.Rule{{Name: "out/1", Match: bgp.Match{Prefixes: []bgp.PrefixRange{{Prefix: pfx("10.0.0.0/8"), Min: 20, Max: 10}}}, Action: bgp.Accept}}
	double := toTor()
	double.Key = "tors/again"
	nowhere := toBird()
	nowhere.Key, nowhere.Address = "bad/2", netip.Addr{}
	d := wanted(toTor(), bad, double, nowhere)
	d.Global.BMP = []string{"no.such.host.invalid:5000", "198.18.0.1:5001"}
	d.Ranges = []bgp.Range{{Prefix: pfx("198.18.9.0/24"), Template: bad}}
	s.set(d)
	s.established("tors/198.18.0.1")
	far.has("ipv4", "10.1.0.0/24", true)
	conn, err := station.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	header := make([]byte, 6) // version 3, length, type 4: initiation (RFC 7854, 4.3)
	if _, err := io.ReadFull(conn, header); err != nil || header[0] != 3 || header[5] != 4 {
		t.Errorf("the BMP station hears % x, %v", header, err)
	}
	for key, why := range map[string]string{"bad/1": "out/1", "tors/again": "same far end", "bad/2": "no address"} {
		if st := s.session(key); !strings.Contains(st.LastError, why) || st.State == bgp.Established {
			t.Errorf("%s: %+v", key, st)
		}
	}
}

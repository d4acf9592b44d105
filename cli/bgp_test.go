package cli

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/golden"
)

func addrOf(s string) netip.Addr { return netip.MustParseAddr(s) }

func number(n uint32) *uint32 { return &n }

// twoToRs is a speaker that has all it should.
func twoToRs() *api.BGP {
	session := func(far string, as uint32) api.BGPSession {
		s := api.BGPSession{Key: "tors/" + far, Address: addrOf(far), State: "established", Since: noon.Add(-50 * time.Hour), RemoteASN: as,
			RouterID: addrOf(far), Flaps: 1, Hold: fabric.BGPHold}
		s.Families.IPv4 = api.BGPSessionFamily{Negotiated: true, EndOfRIB: true, Received: 12, Accepted: 11, Rejected: 1, Advertised: 1}
		s.Families.IPv6 = api.BGPSessionFamily{Negotiated: true, EndOfRIB: true, Received: 11, Accepted: 11, Advertised: 1}
		return s
	}
	return &api.BGP{
		Enabled: true, ASN: 4200000011, RouterID: addrOf("198.18.1.11"), State: "running",
		Sessions: []api.BGPSession{session("198.18.1.1", 65101), session("198.18.2.1", 65102)},
		Synced:   fabric.PerFamily[bool]{IPv4: true, IPv6: true},
		Announced: []api.BGPAnnouncement{
			{Prefix: prefix("10.244.1.0/24"), Why: "lease"}, {Prefix: prefix("fd00:10:244:1::/64"), Why: "lease"}, {Prefix: prefix("192.0.2.53/32"), Why: "prefix dns"},
		},
		FIB: api.BGPFIB{Routes: 22, Groups: 2},
	}
}

// inTrouble is one where everything that can be wrong is.
func inTrouble() *api.BGP {
	b := twoToRs()
	b.Sessions[1].State, b.Sessions[1].RemoteASN, b.Sessions[1].Since, b.Sessions[1].Flaps = "active", 0, noon.Add(-12*time.Second), 7
	b.Sessions[1].Reason = "the far end is in AS 65103, but the BGPPeer object tors expects AS 65102; it said so in its OPEN message 3s ago"
	b.Sessions[1].Families = fabric.PerFamily[api.BGPSessionFamily]{}
	b.Sessions[0].Restarting, b.Sessions[0].Reason = true, "hold timer expired"
	b.Sessions[0].Families.IPv4.Stale = 11
	b.Sessions[0].Families.IPv6.EndOfRIB = false
	held := api.BGPSession{Key: "a-peer-with-quite-a-long-name/2001:db8:ffff:ffff:ffff:ffff:ffff:1", Address: addrOf("2001:db8:ffff:ffff:ffff:ffff:ffff:1"), State: "held",
		Reason: "password file /etc/weft/bgp/tors: permission denied"}
	waiting := api.BGPSession{Key: "uplinks/eth1", State: "idle"}
	b.Sessions = append(b.Sessions, held, waiting)
	b.Announced[2].Withheld = "its health check fails: tcp 192.0.2.53:53: connection refused"
	b.Pending = []string{"tors/198.18.1.1 waits for the turn of its switch: its password changed"}
	b.Problems = []fabric.Problem{{Key: "bgppeers/old", Reason: "policy in-old does not exist"}}
	b.Drain = &fabric.Drain{Since: noon.Add(-time.Minute), State: "withdrawn", Reason: "12 packets in 10s", At: noon}
	b.FIB = api.BGPFIB{Routes: 22, Groups: 2, Lacking: 1, Refused: 3, Retained: 5}
	return b
}

func someRoutes() []api.BGPRoute {
	via := func(p, next, session string) api.BGPRoute {
		return api.BGPRoute{Prefix: prefix(p), NextHop: addrOf(next), Session: session, ASPath: []uint32{65101, 65201, 4200000021}, Best: true, Age: 50 * time.Hour,
			Communities: []string{"65101:100"}, Kernel: "2 next hops: 198.18.1.1 eth0, 198.18.2.1 eth1"}
	}
	rejected := via("0.0.0.0/0", "198.18.1.1", "tors/198.18.1.1")
	rejected.Best, rejected.Rejected, rejected.Kernel = false, "default/no-default-route", ""
	stale := via("fd00:10:244:2::/64", "fe80::5054:ff:fe12:3456%eth1", "uplinks/eth1")
	stale.Stale, stale.LocalPreference, stale.MED, stale.LargeCommunities = true, number(0), number(50), []string{"65000:1:2"}
	spare := via("10.244.2.0/24", "198.18.2.1", "tors/198.18.2.1")
	spare.Best, spare.ASPath = false, []uint32{65102, 65202, 65202, 65201, 4200000021}
	own := api.BGPRoute{Prefix: prefix("10.244.1.0/24"), Best: true}
	return []api.BGPRoute{rejected, own, via("10.244.2.0/24", "198.18.1.1", "tors/198.18.1.1"), spare, stale}
}

func reasons() map[string]*api.Why {
	station := func(name, state, detail string) api.Station {
		return api.Station{Name: name, State: state, Detail: detail}
	}
	well := []api.Station{
		station("lease", "ok", "rack2-host1 has it"), station("announced", "unknown", "only rack2-host1 knows"),
		station("session", "ok", "2 of 2 established"), station("received", "ok", "from tors/198.18.1.1 and tors/198.18.2.1"),
		station("best", "ok", "2 equal ways"), station("kernel", "ok", "2 next hops: 198.18.1.1 eth0, 198.18.2.1 eth1"), station("probe", "ok", "10.244.2.1 answers in 1ms"),
	}
	bad := slices.Clone(well)
	bad[3] = station("received", "fault", "no session told it, though both far ends have told all they have: rack2-host1 does not announce it, or a filter on the way keeps it out")
	bad[4], bad[5], bad[6] = station("best", "fault", "there is no way"), station("kernel", "fault", "no route"), station("probe", "unknown", "not tried")
	all := slices.Clone(well)
	all[1] = station("announced", "ok", "by rack2-host1")
	return map[string]*api.Why{
		"well":  {Prefix: prefix("10.244.2.0/24"), Owner: "rack2-host1", Stations: well},
		"fault": {Prefix: prefix("10.244.2.0/24"), Owner: "rack2-host1", Stations: bad},
		"own":   {Prefix: prefix("10.244.1.0/24"), Stations: all},
	}
}

// speaking answers about BGP on a control socket; refusal, when not empty, is
// its answer to everything. It notes what it was asked.
func speaking(t *testing.T, b *api.BGP, refusal string) (env []string, asked func() []string) {
	t.Helper()
	var log []string
	answer := func(mux *http.ServeMux, pattern string, what any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			log = append(log, r.Method+" "+r.URL.RequestURI())
			if refusal != "" {
				http.Error(w, refusal, http.StatusConflict)
				return
			}
			if err := json.NewEncoder(w).Encode(what); err != nil {
				t.Error(err)
			}
		})
	}
	mux := http.NewServeMux()
	answer(mux, "GET "+api.PathStatus, readyStatus())
	answer(mux, "GET "+api.PathBGP, b)
	for _, path := range []string{api.PathBGPRoutes, api.PathBGPAdvertised, api.PathBGPReceived} {
		answer(mux, "GET "+path, someRoutes())
	}
	answer(mux, "GET "+api.PathBGPWhy, reasons()["fault"])
	answer(mux, "POST "+api.PathBGPShutdown, nil)
	return onSocket(t, mux), func() []string { return log }
}

func TestBGPPeersText(t *testing.T) {
	for name, b := range map[string]*api.BGP{"running": twoToRs(), "trouble": inTrouble(), "starting": {Enabled: true, State: "starting", Reason: "the node's index is not known yet"}, "none": {}} {
		narrow := bgpText(b, noon, false)
		checkWidth(t, narrow)
		golden.Compare(t, "bgp-peers-"+name+".txt", narrow+"\n-o wide\n"+bgpText(b, noon, true))
	}
}

func TestBGPRouteTables(t *testing.T) {
	for name, draw := range map[string]func([]api.BGPRoute, bool) *table{"routes": routesTable, "advertised": advertisedTable, "received": receivedTable} {
		narrow := draw(someRoutes(), false).String()
		checkWidth(t, narrow)
		golden.Compare(t, "bgp-"+name+".txt", narrow+"\n"+draw(someRoutes(), true).String())
	}
}

func TestWhyText(t *testing.T) {
	for name, w := range reasons() {
		narrow := whyText(w, false)
		checkWidth(t, narrow)
		golden.Compare(t, "bgp-why-"+name+".txt", narrow)
	}
}

// TestStatusSaysHowTheSpeakerIs in one line, if there is one.
func TestStatusSaysHowTheSpeakerIs(t *testing.T) {
	for name, b := range map[string]*api.BGP{"bgp": twoToRs(), "bgp-trouble": inTrouble()} {
		narrow := statusText(readyStatus(), b, noon, false)
		checkWidth(t, narrow)
		golden.Compare(t, "status-"+name+".txt", narrow)
	}
	env, _ := speaking(t, twoToRs(), "")
	if r := command(t, env, "", "status"); r.code != exitDone || r.out != statusText(readyStatus(), twoToRs(), noon, false) {
		t.Errorf("got %+v", r)
	}
	if strings.Contains(statusText(readyStatus(), &api.BGP{}, noon, false), "bgp") {
		t.Error("a fabric without BGP is told about it")
	}
}

// TestBGPCommands: what the agent is asked, what is printed, and the code.
func TestBGPCommands(t *testing.T) {
	for _, c := range []struct {
		line  string
		b     *api.BGP
		asked []string
		code  int
		out   string // a part of it
	}{
		{"bgp peers", twoToRs(), []string{"GET /v1/bgp"}, exitDone, "tors/198.18.1.1  65101  established  2d2h  22  1"},
		{"bgp peers", inTrouble(), []string{"GET /v1/bgp"}, exitNo, "/etc/weft/bgp/tors: permission denied\n"},
		{"bgp peers", &api.BGP{}, []string{"GET /v1/bgp"}, exitDone, "does not use BGP"},
		{"bgp peers -o json", inTrouble(), []string{"GET /v1/bgp"}, exitNo, `"remoteASN": 65101`},
		{"bgp routes", twoToRs(), []string{"GET /v1/bgp/routes"}, exitDone, "10.244.2.0/24"},
		{"bgp routes 10.244.2.0/24 -o yaml", twoToRs(), []string{"GET /v1/bgp/routes?prefix=10.244.2.0%2F24"}, exitDone, "\n  session: tors/198.18.1.1\n"},
		{"bgp routes 10.244.2.9", twoToRs(), []string{"GET /v1/bgp/routes?prefix=10.244.2.9"}, exitDone, "10.244.2.0/24"},
		{"bgp advertised tors/198.18.1.1", twoToRs(), []string{"GET /v1/bgp/advertised?session=tors%2F198.18.1.1"}, exitDone, "65101 65201"},
		{"bgp received -o wide", twoToRs(), []string{"GET /v1/bgp/received"}, exitDone, "rejected: default/no-default-route"},
		{"bgp why 10.244.2.9", twoToRs(), []string{"GET /v1/bgp/why?prefix=10.244.2.9"}, exitNo, "the way ends at \"received\""},
		{"bgp why 10.244.2.0/24 -o json", twoToRs(), []string{"GET /v1/bgp/why?prefix=10.244.2.0%2F24"}, exitNo, `"state": "fault"`},
		{"bgp shutdown", twoToRs(), []string{"GET /v1/bgp", "POST /v1/bgp/shutdown"}, exitDone, "shut down: 3 routes withdrawn, 2 sessions closed\n"},
	} {
		env, asked := speaking(t, c.b, "")
		r := command(t, env, "", strings.Fields(c.line)...)
		if r.code != c.code || !strings.Contains(r.out, c.out) {
			t.Errorf("%s: %+v", c.line, r)
		}
		if got := asked(); !slices.Equal(got, c.asked) {
			t.Errorf("%s asked %q, want %q", c.line, got, c.asked)
		}
	}
}

// TestBGPRefused: what the agent says against it is passed on.
func TestBGPRefused(t *testing.T) {
	env, _ := speaking(t, nil, "the speaker is not running")
	for _, line := range []string{"bgp peers", "bgp routes", "bgp why 10.244.2.9", "bgp shutdown"} {
		if r := command(t, env, "", strings.Fields(line)...); r != (result{exitFailed, "", "weft: weftd: 409 Conflict: the speaker is not running\n"}) {
			t.Errorf("%s: %+v", line, r)
		}
	}
}

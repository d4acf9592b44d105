package cli

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/internal/golden"
)

// somePaths are peers reached in every way that there is.
func somePaths() []api.PeerPaths {
	way := func(path, state, probe string, mtu int, reason string) api.PathOffer {
		return api.PathOffer{Path: path, State: state, Probe: probe, MTU: mtu, Reason: reason}
	}
	family := func(name, path, reason string, offers ...api.PathOffer) api.FamilyPath {
		return api.FamilyPath{Family: name, Path: path, Reason: reason, Since: noon.Add(-3 * time.Hour), MTU: 1500, Full: 1500, Offers: offers}
	}
	direct := way("direct", "up", "answers", 1500, "198.18.1.2 is on eth0's segment")
	tor := way("bgp", "up", "answers", 1500, "2 next hops: 198.18.1.1 eth0, 198.18.2.1 eth1")
	overlay := way("vxlan", "up", "unknown", 0, "its VTEP is 198.18.2.1")
	far := way("direct", "gone", "unknown", 0, "198.18.2.1 is on no segment of this host")
	same := api.PeerPaths{Name: "rack1-host2", ID: "id-of-rack1-host2", Alive: true,
		Families: []api.FamilyPath{family("ipv4", "direct", "on the segment of eth0", direct, tor, overlay), family("ipv6", "direct", "on the segment of eth0", direct, tor, overlay)}}
	falling := family("ipv4", "vxlan", "bgp is gone: its prefix is in no session's routes", far, way("bgp", "gone", "silent", 0, "10.244.3.0/24 is in no session's routes"), overlay)
	falling.Since, falling.Switches, falling.MTU, falling.Full = noon.Add(-12*time.Second), 3, 1450, 1450
	falling.Next = "bgp"
	shrunk := family("ipv6", "bgp", "as the fabric prefers", far, way("bgp", "up", "answers", 1400, "198.18.1.1 eth0"), overlay)
	shrunk.MTU = 1400
	mixed := api.PeerPaths{Name: "a-host-with-quite-a-long-name.rack2.row7.dc2.example.net", ID: "b", Alive: true, Families: []api.FamilyPath{falling, shrunk}}
	dead := family("ipv4", "unreachable", "its agent is gone and the host answers no probe", way("vxlan", "gone", "silent", 0, "the host answers no probe"))
	dead.MTU, dead.Full = 0, 0
	return []api.PeerPaths{mixed, same, {Name: "rack3-host1", ID: "c", Families: []api.FamilyPath{dead}}, {Name: "rack3-host2", ID: "d", Alive: true}}
}

func TestPeersText(t *testing.T) {
	narrow := pathsTable(somePaths(), noon, false).String()
	for _, p := range somePaths() {
		narrow += "\n$ weft peers " + p.Name + "\n" + peerText(p, noon, false)
	}
	checkWidth(t, narrow)
	golden.Compare(t, "peers.txt", narrow+"\n-o wide\n"+pathsTable(somePaths(), noon, true).String())
}

// TestPeersCommand: what is asked, and what the exit code says.
func TestPeersCommand(t *testing.T) {
	asked := ""
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+api.PathPeers, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.RawQuery
		out := []api.PeerPaths{}
		for _, p := range somePaths() {
			if name := r.URL.Query().Get("peer"); name == "" || name == p.Name {
				out = append(out, p)
			}
		}
		if err := json.NewEncoder(w).Encode(out); err != nil {
			t.Error(err)
		}
	})
	env := onSocket(t, mux)
	for _, c := range []struct {
		line  string
		code  int
		asked string
		out   string // a part of both outputs
	}{
		{"peers", exitNo, "", "rack3-host1"}, // cannot be reached
		{"peers rack1-host2", exitDone, "peer=rack1-host2", "*direct"},
		{"peers rack3-host1", exitNo, "peer=rack3-host1", "unreachable: its agent is gone"},
		{"peers rack3-host2", exitDone, "peer=rack3-host2", "it has no subnets"},
		{"peers rack1-host2 -o json", exitDone, "peer=rack1-host2", `"path": "direct"`},
		{"peers -o yaml", exitNo, "", "name: rack1-host2\n"},
		{"peers other", exitFailed, "peer=other", "weft: this host has no peer other; hint: `weft peers` lists them\n"},
	} {
		r := command(t, env, "", strings.Fields(c.line)...)
		if r.code != c.code || !strings.Contains(r.out+r.err, c.out) || asked != c.asked {
			t.Errorf("%s asked %q: %+v", c.line, asked, r)
		}
	}
}

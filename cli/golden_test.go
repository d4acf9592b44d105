package cli

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/golden"
	"github.com/weft-net/weft/store"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func nodeOf(name string, index uint32, v4, v6 string) fabric.Node {
	n := fabric.Node{Name: name, ID: fabric.NodeID("id-of-" + name), Index: index, MTU: 1500, VTEPMAC: fabric.DeriveMAC(name),
		Receives: []fabric.PathKind{fabric.PathVXLAN, fabric.PathDirect}, Version: "v0.1.0"}
	if v4 != "" {
		n.Underlay.IPv4 = netip.MustParseAddr(v4)
	}
	if v6 != "" {
		n.Underlay.IPv6 = netip.MustParseAddr(v6)
	}
	return n
}

// racks is a small dual-stack fabric with one of everything.
func racks() *fabric.Snapshot {
	lease := func(p string) fabric.Subnet {
		return fabric.Subnet{Prefix: prefix(p), Owner: "x", Epoch: 1, CreateRevision: 17, EtcdLease: 0x694d7}
	}
	kept := lease("10.244.3.0/24")
	kept.For, kept.EtcdLease = "rack2-host1", 0
	return &fabric.Snapshot{
		Peers: []*fabric.Peer{
			{Node: nodeOf("rack2-host1", 3, "198.18.2.1", ""), Subnets: []fabric.Subnet{kept}},
			{Node: nodeOf("rack1-host2", 2, "198.18.1.2", "2001:db8:1::2"), Alive: true, Subnets: []fabric.Subnet{lease("10.244.2.0/24"), lease("10.244.21.0/24"), lease("10.244.20.0/24"), lease("fd00:10:244:2::/64")}},
			{Node: nodeOf("a-host-with-quite-a-long-name.rack1.row7.dc2.example.net", 1, "198.18.1.1", "2001:db8:1::1"), Alive: true,
				Subnets: []fabric.Subnet{lease("10.244.1.0/24"), lease("fd00:10:244:1::/64")}},
		},
		Reservations: []fabric.Subnet{{Prefix: prefix("10.244.9.0/24"), For: "rack2-host9", CreateRevision: 30}},
	}
}

func TestNodesTable(t *testing.T) {
	rows := nodeRows(racks())
	narrow, wide := nodesTable(rows, false).String(), nodesTable(rows, true).String()
	checkWidth(t, narrow)
	golden.Compare(t, "nodes.txt", narrow+"\n"+wide)
}

func TestLeasesTable(t *testing.T) {
	rows := leaseRows(racks())
	narrow, wide := leasesTable(rows, false).String(), leasesTable(rows, true).String()
	checkWidth(t, narrow)
	golden.Compare(t, "leases.txt", narrow+"\n"+wide)
}

func TestFabricTable(t *testing.T) {
	objects, err := config.ParseObjects("fabric.yaml", []byte(fabricYAML))
	if err != nil {
		t.Fatal(err)
	}
	o := stored{Object: objects[0], Record: store.Record{ModRev: 7}}
	narrow := fabricTable(o, false).String()
	checkWidth(t, narrow)
	golden.Compare(t, "fabric.txt", narrow+"\n"+fabricTable(o, true).String())
}

func readyStatus() *api.Status {
	return &api.Status{
		Node: "rack1-host1", NodeID: "4c1f0f2e8b4a4f6f", Version: "v0.1.0", Started: noon.Add(-52 * time.Hour), Ready: true,
		Lease: api.Lease{State: "leased", Index: 1, Subnets: []netip.Prefix{prefix("10.244.1.0/24"), prefix("fd00:10:244:1::/64")}, Epoch: 1},
		Etcd:  api.Etcd{Connected: true, Revision: 812, Taken: noon.Add(-2 * time.Second)},
		Underlay: api.Underlay{Interface: "eth0", MTU: 1500,
			Addrs: fabric.PerFamily[netip.Addr]{IPv4: netip.MustParseAddr("198.18.1.1"), IPv6: netip.MustParseAddr("2001:db8:1::1")}},
		MTU: 1430,
		Peers: []api.Peer{
			{Name: "rack2-host1", ID: "b", Alive: true, Subnets: []netip.Prefix{prefix("10.244.3.0/24"), prefix("fd00:10:244:3::/64")},
				Underlay: netip.MustParseAddr("198.18.2.1"), Path: "vxlan", Reason: "not on a segment of this host", Programmed: true},
			{Name: "rack1-host2", ID: "a", Alive: true, Subnets: []netip.Prefix{prefix("10.244.2.0/24"), prefix("fd00:10:244:2::/64")},
				Underlay: netip.MustParseAddr("198.18.1.2"), Path: "direct", Reason: "on the same segment", Programmed: true},
		},
		Repaired: map[string]uint64{},
	}
}

func brokenStatus() *api.Status {
	s := readyStatus()
	s.Ready = false
	s.NotReady = []string{"no lease: the pool 10.244.0.0/16 is exhausted", "1 object is not in the kernel"}
	s.Lease = api.Lease{State: "exhausted", Reason: "all 256 subnets of 10.244.0.0/16 are taken; it will go on when one is freed"}
	s.Etcd = api.Etcd{Connected: false, Cached: true, Revision: 700, Taken: noon.Add(-3*time.Hour - 5*time.Minute), Error: "etcd at http://198.18.0.1:2379 cannot be reached: connection refused"}
	s.Peers[0].Programmed, s.Peers[0].Reason = false, "the kernel lacks route 10.244.3.0/24"
	s.Peers[1].Path, s.Peers[1].Alive, s.Peers[1].Reason = "unreachable", false, "its agent is gone and the host answers no probe"
	s.Peers = append(s.Peers, api.Peer{Name: "rack3-host1", ID: "c", Held: true, Subnets: []netip.Prefix{prefix("10.244.4.0/24")}, Path: "none", Reason: "it has no address that this host can reach"})
	s.Hold = &fabric.Hold{Since: noon.Add(-90 * time.Second), Peers: 1, Reason: "its records vanished together"}
	s.Problems = []fabric.Problem{{Key: "nodes/rack9-host9", Reason: "not JSON: unexpected end of JSON input"}}
	s.Conflicts = []string{"route 10.244.7.0/24: held by protocol 186"}
	s.Failed = []string{"route 10.244.3.0/24: network is unreachable"}
	s.Repaired = map[string]uint64{"route": 2, "neigh": 1, "link": 0}
	for _, peer := range []string{"rack2-host1", "rack4-host2", "rack4-host1", "rack4-host3", "rack4-host4", "rack4-host5", "rack4-host6"} {
		s.Reduced = append(s.Reduced, api.Reduced{Peer: peer, Family: "ipv4", Path: "bgp", MTU: 1400, Full: 1500, Since: noon})
	}
	s.Silent = []string{"rack5-host1", "rack5-host2", "rack5-host3", "rack5-host4"}
	s.Migration = &api.Migration{Phase: "moving", Moved: 12, Total: 35, Paused: "rack1-host2: rack2-host1: 3 of 10 probes of 1500 bytes were lost by bgp (ipv4)", Reason: "waits for its turn, behind rack1-host2"}
	return s
}

func TestHoldWords(t *testing.T) {
	for want, h := range map[string]fabric.Hold{
		"1 peer is held back for 2m0s: gone":                {Peers: 1},
		"3 peers are held back for 2m0s: gone":              {Peers: 3},
		"1 object is held back for 2m0s: gone":              {Objects: 1},
		"2 peers and 1 object are held back for 2m0s: gone": {Peers: 2, Objects: 1},
		"1 peer and 5 objects are held back for 2m0s: gone": {Peers: 1, Objects: 5},
	} {
		h.Since, h.Reason = noon.Add(-2*time.Minute), "gone"
		if got := holdWords(&h, noon); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestStatus(t *testing.T) {
	starting := &api.Status{Node: "a", Started: noon.Add(-time.Second), NotReady: []string{"there is no Fabric object"},
		Lease: api.Lease{State: "waiting", Reason: "there is no Fabric object"}}
	grown := readyStatus()
	grown.Lease = api.Lease{State: "leased", Index: 1, Reason: "pool exhausted: no subnet of length 24 is free in 10.244.0.0/16", Subnets: []netip.Prefix{
		prefix("10.244.1.0/24"), prefix("10.244.200.0/24"), prefix("10.244.77.0/24"), prefix("10.244.30.0/24"), prefix("fd00:10:244:1::/64"),
	}}
	for name, s := range map[string]*api.Status{"ready": readyStatus(), "broken": brokenStatus(), "starting": starting, "grown": grown} {
		narrow := statusText(s, nil, noon, false)
		checkWidth(t, narrow)
		golden.Compare(t, "status-"+name+".txt", narrow)
		if name == "broken" {
			golden.Compare(t, "status-broken-wide.txt", statusText(s, nil, noon, true))
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m1s", 3*time.Hour + 5*time.Minute: "3h5m", 50 * time.Hour: "2d2h",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

func TestCompare(t *testing.T) {
	const a = `{"spec":{"network":{"ipv4":"10.0.0.0/8"},"vxlan":{"vni":1,"mtu":0},"asn":4200000000,"reserved":["10.1.0.0/16"],"newer":{"x":[1,"b"]}}}`
	const b = `{"spec":{"network":{"ipv4":"10.0.0.0/8","ipv6":"fd00::/48"},"vxlan":{"vni":2,"mtu":0},"reserved":["10.1.0.0/16","10.2.0.0/16"]}}`
	for _, c := range []struct {
		name, was, will string
		want            []string
	}{
		{"same", a, a, nil},
		{"different", a, b, []string{
			"- spec.asn: 4200000000", // not 4.2e+09
			"+ spec.network.ipv6: fd00::/48",
			"- spec.newer.x: [1, b]",
			"~ spec.reserved: [10.1.0.0/16] -> [10.1.0.0/16, 10.2.0.0/16]",
			"~ spec.vxlan.vni: 1 -> 2",
		}},
		{"garbage before", "{]", `{"kind":"Fabric"}`, []string{`- what is stored is not JSON: "{]"`, "+ kind: Fabric"}},
		{"empty before", "", `{"kind":"Fabric"}`, []string{`- what is stored is not JSON: ""`, "+ kind: Fabric"}},
	} {
		if got := compare([]byte(c.was), []byte(c.will)); !slices.Equal(got, c.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
		}
	}
	if got := compare(nil, []byte(`{"kind":"Fabric"}`)); !slices.Equal(got, []string{"+ kind: Fabric"}) {
		t.Errorf("new object: got %q", got)
	}
}

// TestRowsAreGoodJSON: what scripts read has stable names and no nulls.
func TestRowsAreGoodJSON(t *testing.T) {
	for name, rows := range map[string]any{
		"nodes": nodeRows(racks()), "leases": leaseRows(racks()),
		"no nodes": nodeRows(&fabric.Snapshot{}), "no leases": leaseRows(&fabric.Snapshot{}),
	} {
		text, err := json.Marshal(rows)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "null") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

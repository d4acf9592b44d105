package migrate

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/weft-net/weft/agent/routing"
	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/kernel"
)

func TestMain(m *testing.M) { os.Exit(testns.Main(m)) }

func wantCheck(t *testing.T, what string, got fabric.Check, result, text string) {
	t.Helper()
	if got.Result != result || !strings.Contains(got.Text, text) {
		t.Errorf("%s: %s: %q, want %s: ...%s...", what, got.Result, got.Text, result, text)
	}
}

func overlay(port uint16, generation int) fabric.Plan {
	return fabric.Plan{Backend: "vxlan", VXLAN: fabric.VXLANSpec{VNI: 1, Port: port, Generation: generation}}
}

// moveTo is what is known when the fabric is to move.
func moveTo(from, to fabric.Plan) state {
	spec := from.Apply(&fabric.Spec{})
	spec.Network.IPv4 = netip.MustParsePrefix("10.244.0.0/16")
	st := state{m: &fabric.Migration{ID: "one", Rate: 1, To: to}, self: &fabric.Peer{}}
	st.in.Underlay = kernel.Underlay{Interface: "eth0", MTU: 1500}
	st.in.Underlay.Addrs.IPv4 = netip.MustParseAddr("198.18.0.1")
	st.snap = &fabric.Snapshot{Spec: spec, Migration: st.m}
	return st
}

func TestCheckPlans(t *testing.T) {
	routed := fabric.Plan{Backend: "bgp"}
	direct := fabric.Plan{Backend: "bgp", Overlay: fabric.OverlayNever}
	direct.VXLAN.VNI = 77
	for _, tt := range []struct {
		name     string
		from, to fabric.Plan
		result   string
		text     string
	}{
		{"the same", overlay(4789, 0), overlay(4789, 0), fabric.CheckFailed, "nothing to move"},
		{"another port, the same device", overlay(4789, 0), overlay(8472, 0), fabric.CheckFailed, "one generation"},
		{"another device, the same port", overlay(4789, 0), overlay(4789, 1), fabric.CheckFailed, "tells them apart"},
		{"a generation left out", overlay(4789, 0), overlay(8472, 2), fabric.CheckFailed, "even and an odd"},
		{"another port", overlay(4789, 0), overlay(8472, 1), fabric.CheckOK, "vxlan (port 8472, VNI 1)"},
		{"routing", overlay(4789, 0), routed, fabric.CheckFailed, "one generation"}, // it falls back on an overlay of VNI 0
		{"routing without an overlay", overlay(4789, 0), direct, fabric.CheckOK, "to bgp: direct, bgp"},
	} {
		wantCheck(t, tt.name, checkPlans(tt.from.Apply(&fabric.Spec{}), tt.to), tt.result, tt.text)
	}
}

func TestCheckMTU(t *testing.T) {
	routed := fabric.Plan{Backend: "bgp", Overlay: fabric.OverlayNever}
	large, tiny := overlay(8472, 1), moveTo(overlay(4789, 0), overlay(8472, 1))
	large.VXLAN.MTU = 1500
	tiny.in.Underlay.MTU = 600
	six := moveTo(routed, overlay(8472, 1))
	six.snap.Spec.Network.IPv6 = netip.MustParsePrefix("fd00::/48")
	six.in.Underlay.MTU = 1300
	for _, tt := range []struct {
		name         string
		st           state
		result, text string
	}{
		{"larger", moveTo(overlay(4789, 0), routed), fabric.CheckOK, "1450 bytes, and 1500 then"},
		{"smaller", moveTo(routed, overlay(8472, 1)), fabric.CheckWarning, "have 1500 bytes and new ones get 1450"},
		{"more than the underlay carries", moveTo(overlay(4789, 0), large), fabric.CheckFailed, "carries 1450"},
		{"less than every host must accept", tiny, fabric.CheckFailed, "576"},
		{"less than IPv6 needs", six, fabric.CheckFailed, "1280"},
	} {
		wantCheck(t, tt.name, checkMTU(tt.st), tt.result, tt.text)
	}
}

// What probes cannot see is said with the chain and the devices to look at.
func TestCheckFilters(t *testing.T) {
	routed, tunnel := moveTo(overlay(4789, 0), fabric.Plan{Backend: "bgp", Overlay: fabric.OverlayNever}), moveTo(overlay(4789, 0), overlay(8472, 1))
	routed.in.Uplinks = []string{"eth0", "eth1"}
	some := kernel.Filter{Chain: "inet filter forward", Hook: "forward", Rules: 2}
	docker := kernel.Filter{Chain: "ip filter FORWARD", Hook: "forward", ByDefault: true, Rules: 1}
	host := kernel.Filter{Chain: "inet filter input", Hook: "input", ByDefault: true}
	for _, tt := range []struct {
		name    string
		st      state
		filters []kernel.Filter
		err     error
		result  string
		text    string
	}{
		{"none", routed, nil, nil, fabric.CheckOK, ""},
		{"rules", routed, []kernel.Filter{some}, nil, fabric.CheckWarning, "chain inet filter forward drops some forwarded packets (2 rules); " +
			"probes do not pass it: see that pods' packets may go between weft0 and eth0, eth1"},
		{"a policy and a rule", tunnel, []kernel.Filter{docker}, nil, fabric.CheckWarning, "chain ip filter FORWARD drops what no rule of it accepts, and " +
			"drops some forwarded packets (1 rule); probes do not pass it: see that pods' packets may go between weft0 and weft.1b"},
		{"to the host", routed, []kernel.Filter{host}, nil, fabric.CheckWarning, "chain inet filter input drops what no rule of it accepts: " +
			"see that it accepts probes (UDP port 7158, ICMP echo)"},
		{"both, and an overlay", tunnel, []kernel.Filter{host, some}, nil, fabric.CheckWarning, "weft0 and weft.1b; chain inet filter input drops what no rule of it accepts: " +
			"see that it accepts the overlay (UDP port 8472) and probes"},
		{"many", routed, slices.Repeat([]kernel.Filter{some}, 7), nil, fabric.CheckWarning, "forward drops some forwarded packets (2 rules), and 3 more; probes"},
		{"unknown", routed, nil, errors.New("no netlink"), fabric.CheckWarning, "no netlink"},
	} {
		task := New(Options{Filters: func() ([]kernel.Filter, error) { return tt.filters, tt.err }})
		wantCheck(t, tt.name, task.checkFilters(tt.st), tt.result, tt.text)
	}
}

// router says what a test wants to hear.
type router struct {
	foresight routing.Foresight
	err       error
	sessions  []bgp.SessionStatus
	synced    bool
}

func (r router) Foresee(context.Context, *fabric.Spec) (routing.Foresight, error) {
	return r.foresight, r.err
}
func (r router) Sessions() []bgp.SessionStatus { return r.sessions }
func (r router) Synced(fabric.Family) bool     { return r.synced }

func TestCheckSessions(t *testing.T) {
	st := moveTo(overlay(4789, 0), fabric.Plan{Backend: "bgp", Overlay: fabric.OverlayNever})
	ask := func(r router) ([]fabric.Check, string) {
		return New(Options{Router: r}).checkSessions(context.Background(), st)
	}
	checks, _ := ask(router{})
	wantCheck(t, "no object", checks[0], fabric.CheckFailed, "kind: BGPPeer")
	checks, _ = ask(router{foresight: routing.Foresight{Sessions: 2}})
	wantCheck(t, "two sessions", checks[0], fabric.CheckOK, "2, and 0 prefixes")
	checks, _ = ask(router{foresight: routing.Foresight{Sessions: 1, Problems: []fabric.Problem{{Key: "bgppeers/tor", Reason: "no password"}}}})
	wantCheck(t, "a problem", checks[0], fabric.CheckFailed, "bgppeers/tor: no password")
	if checks, missing := ask(router{foresight: routing.Foresight{Reason: "this node's index is not known yet"}}); checks != nil || !strings.Contains(missing, "index") {
		t.Errorf("what is not known yet: %v, %q", checks, missing)
	}
	st = moveTo(fabric.Plan{Backend: "bgp"}, overlay(4789, 1))
	checks, _ = ask(router{err: errors.New("it must not be asked")})
	wantCheck(t, "no routing", checks[0], fabric.CheckOK, "does not route")
}

// ready is a loop that has carried out the newest snapshot.
type ready struct {
	Ways
	held *fabric.Snapshot
	why  string
}

func (r ready) Programmed() (*fabric.Snapshot, string) { return r.held, r.why }

// A node says that it receives by both plans when its kernel holds them, and its
// neighbours know its routes and have told theirs.
func TestUnarmed(t *testing.T) {
	st := moveTo(overlay(4789, 0), fabric.Plan{Backend: "bgp"})
	up := bgp.SessionStatus{Key: "tor/198.18.0.254", State: bgp.Established}
	down := bgp.SessionStatus{Key: "tor/198.18.0.254", State: "active", LastError: "connection refused"}
	for _, tt := range []struct {
		name string
		ways ready
		r    router
		want string
	}{
		{"nothing is programmed", ready{}, router{}, "has not got to it"},
		{"the round failed", ready{why: "nexthop 5: no space"}, router{}, "no space"},
		{"an older snapshot is", ready{held: &fabric.Snapshot{Spec: st.snap.Spec}}, router{}, "has not got to it"},
		{"there is no session", ready{held: st.snap}, router{}, "there is none"},
		{"none is established", ready{held: st.snap}, router{sessions: []bgp.SessionStatus{down}}, "connection refused"},
		{"the neighbours are telling", ready{held: st.snap}, router{sessions: []bgp.SessionStatus{up}}, "ipv4 routes"},
		{"armed", ready{held: st.snap}, router{sessions: []bgp.SessionStatus{down, up}, synced: true}, ""},
	} {
		got := New(Options{Ways: tt.ways, Router: tt.r}).unarmed(st)
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Strict rp_filter is refused where a gateway is, told elsewhere, and ignored on
// devices that weft sees to and where the larger of the two values says loose.
func TestCheckReversePath(t *testing.T) {
	testns.New(t)
	for _, args := range []string{"link add up0 type veth peer name up1", "addr add 198.18.1.10/24 dev up0", "link set up0 up", "link set up1 up"} {
		testns.Run(t, "ip", strings.Fields(args)...)
	}
	in := Inputs{Underlay: kernel.Underlay{Interface: "eth0", Gateways: []netip.Addr{netip.MustParseAddr("198.18.1.1")}}}
	set := func(dev, value string) {
		t.Helper()
		if err := os.WriteFile(devices+"/"+dev+"/rp_filter", []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("all", "0")
	set("up0", "0")
	set("up1", "0")
	wantCheck(t, "off", checkReversePath(in), fabric.CheckOK, "")
	set("up0", "1")
	wantCheck(t, "strict at the gateway", checkReversePath(in), fabric.CheckFailed, "net.ipv4.conf.up0.rp_filter=2")
	in.Uplinks = []string{"up0"}
	wantCheck(t, "weft sees to it", checkReversePath(in), fabric.CheckOK, "")
	in.Uplinks, in.Underlay.Gateways = nil, nil
	wantCheck(t, "no gateway there", checkReversePath(in), fabric.CheckWarning, "up0")
	set("up0", "0")
	set("all", "1")
	wantCheck(t, "strict for all", checkReversePath(in), fabric.CheckWarning, "up0")
	set("up0", "2")
	wantCheck(t, "the larger counts", checkReversePath(in), fabric.CheckOK, "")
}

func TestCheckOverlay(t *testing.T) {
	testns.New(t)
	st := moveTo(overlay(4789, 0), overlay(8472, 1))
	wantCheck(t, "free", checkOverlay(st), fabric.CheckOK, "8472 is free")
	conn, err := net.ListenPacket("udp", ":8472")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	wantCheck(t, "taken", checkOverlay(st), fabric.CheckWarning, "8472 is in use")
	link := func(args string) { testns.Run(t, "ip", strings.Fields("link "+args)...) }
	link("add weft.1b type veth peer name other")
	wantCheck(t, "somebody else's device", checkOverlay(st), fabric.CheckFailed, "weft.1b is there, and is not weft's")
	link("del weft.1b")
	link("add weft.1b type vxlan id 1 dstport 8472 local 198.18.0.1")
	wantCheck(t, "a device without weft's mark", checkOverlay(st), fabric.CheckFailed, "weft.1b, which is not weft's")
	link("set weft.1b alias weft")
	wantCheck(t, "armed already", checkOverlay(st), fabric.CheckOK, "weft.1b")
	link("del weft.1b")
	wantCheck(t, "the same port", checkOverlay(moveTo(overlay(8472, 0), overlay(8472, 1))), fabric.CheckOK, "already")
	wantCheck(t, "none", checkOverlay(moveTo(overlay(4789, 0), fabric.Plan{Backend: "bgp", Overlay: fabric.OverlayNever})), fabric.CheckOK, "has none")
}

// Another's VXLAN device is in the way where the kernel would refuse weft's.
func TestCheckOverlayBesideOthers(t *testing.T) {
	st := moveTo(overlay(4789, 0), overlay(8472, 1))
	for _, tt := range []struct {
		name, device, result, text string
	}{
		{"VNI and port", "add name flannel type vxlan id 1 dstport 8472 local 198.18.0.9", fabric.CheckFailed, "device flannel, which is not weft's, has VNI 1 and UDP port 8472"},
		{"VNI and port, from any address", "add name flannel type vxlan id 1 dstport 8472", fabric.CheckFailed, "flannel"},
		{"port", "add name flannel type vxlan id 2 dstport 8472 local 198.18.0.9", fabric.CheckWarning, "also that of flannel"},
		{"VNI", "add name flannel type vxlan id 1 dstport 4790 local 198.18.0.9", fabric.CheckOK, "8472 is free"},
		{"over IPv6", "add name flannel type vxlan id 1 dstport 8472 local fd18::9", fabric.CheckOK, "8472 is free"},
		{"external", "add name cilium type vxlan external dstport 8472", fabric.CheckFailed, "device cilium has UDP port 8472 for itself"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testns.New(t)
			testns.Run(t, "ip", strings.Fields("link "+tt.device)...)
			wantCheck(t, tt.name, checkOverlay(st), tt.result, tt.text)
			// The check says what the kernel then does.
			refused := false
			for _, args := range []string{"add name weft.1b type vxlan id 1 dstport 8472 local 198.18.0.1", "set flannel up", "set cilium up", "set weft.1b up"} {
				out, err := exec.Command("ip", strings.Fields("link "+args)...).CombinedOutput()
				refused = refused || err != nil && !strings.Contains(string(out), "Cannot find device")
			}
			if failed := tt.result == fabric.CheckFailed; failed != refused {
				t.Errorf("the check failed: %t, the kernel refused: %t", failed, refused)
			}
		})
	}
}

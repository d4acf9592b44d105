package plumb

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/ipam"
)

// TestHonestPods: guarded pods of one family or both reach each other, the
// gateway and groups, find out that nobody has their address, and send nothing
// that the guard drops.
func TestHonestPods(t *testing.T) {
	for _, families := range []string{"4", "6", "46"} {
		t.Run(families, func(t *testing.T) {
			h := newHost(t)
			a, b := h.pod(2, families), h.pod(3, families)
			inA, inB := h.netns(), h.netns()
			h.attach(a, inA)
			h.attach(b, inB)
			for i, p := range b.Addrs {
				inA.run(t, "ping", "-c1", "-W10", p.Addr().String())
				inA.run(t, "ping", "-c1", "-W10", b.Gateways[i].String())
				inA.run(t, "ping", "-c1", "-W10", "-s4000", p.Addr().String()) // in fragments
			}
			if strings.Contains(families, "6") {
				eventually(t, "duplicate address detection ends", func() bool {
					return !strings.Contains(inA.run(t, "ip", "-6", "addr", "show", "dev", "eth0"), "tentative")
				})
				inA.run(t, "ping", "-c1", "-W10", linkLocal(b.MAC()).String()+"%eth0")
				inA.run(t, "ping", "-c1", "-W10", "ff02::1%eth0")
			}
			rules := testns.Run(t, "nft", "list", "table", "bridge", "weft")
			if !strings.Contains(rules, "counter packets 0 ") {
				t.Errorf("dropped of honest pods:\n%s", rules)
			}
		})
	}
}

// TestGroupsOfBridges: a frame to an address that a bridge keeps for itself is
// one more frame to the guard: else the bridge would learn from it that the
// gateway or another pod is behind the sender's port.
func TestGroupsOfBridges(t *testing.T) {
	h := newHost(t)
	me, other := h.pod(2, "4"), h.pod(3, "4")
	mine, theirs := h.netns(), h.netns()
	h.attach(me, mine)
	h.attach(other, theirs)
	pin(t)
	out, atHost := mine.open(t, "eth0"), open(t, "weft0")
	theirs.run(t, "ping", "-c1", "-W10", gateway4.Addr().String())
	port := other.HostInterface()
	for group := range byte(16) {
		forged := ether(fabric.MAC{1, 0x80, 0xc2, 0, 0, group}, other.MAC(), 0x0800, ip4(other.Addrs[0].Addr(), gateway4.Addr(), 0))
		out.send(forged)
		last := ip4(me.Addrs[0].Addr(), gateway4.Addr(), group+1)
		out.send(ether(everybody, me.MAC(), 0x0800, last))
		atHost.until(last, nil)
		fdb := testns.Run(t, "bridge", "fdb", "get", other.MAC().String(), "br", "weft0")
		if !strings.Contains(fdb, port) {
			t.Fatalf("group %x: the other pod's MAC is believed elsewhere: %s", group, fdb)
		}
	}
}

func TestPortOptions(t *testing.T) {
	h := newHost(t)
	for i, want := range []struct{ hairpin, isolated bool }{{}, {hairpin: true}, {isolated: true}, {true, true}} {
		p := h.pod(byte(i+2), "4")
		p.Hairpin, p.Isolated, p.Guarded = want.hairpin, want.isolated, i%2 == 0
		h.attach(p, h.netns())
		if got := h.port(p.Attachment); got.Hairpin != want.hairpin || got.Isolated != want.isolated {
			t.Errorf("hairpin %t, isolated %t; want %+v", got.Hairpin, got.Isolated, want)
		}
	}
}

// TestIsolation: isolated pods reach the gateway and not each other.
func TestIsolation(t *testing.T) {
	h := newHost(t)
	a, b := h.pod(2, "4"), h.pod(3, "4")
	a.Isolated, b.Isolated = true, true
	inA, inB := h.netns(), h.netns()
	h.attach(a, inA)
	h.attach(b, inB)
	inA.run(t, "ping", "-c1", "-W10", gateway4.Addr().String())
	if out, err := inA.try("ping", "-c1", "-W1", "10.1.0.3"); err == nil {
		t.Errorf("isolated pods reach each other: %s", out)
	}
}

func TestHardwareAddress(t *testing.T) {
	h := newHost(t)
	taken := fabric.MAC{2, 0, 0, 0, 0, 9}
	first := h.pod(2, "46")
	first.Hardware = taken
	inFirst := h.netns()
	e := h.attach(first, inFirst)
	if e.Pod.MAC != taken || !strings.Contains(inFirst.run(t, "ip", "link", "show", "eth0"), taken.String()) {
		t.Errorf("the pod has not the MAC asked for, %s", taken)
	}
	v6 := h.pod(4, "6")
	h.attach(v6, h.netns())
	for _, tt := range []struct {
		name string
		mac  fabric.MAC
		want error
	}{
		{"of another pod", taken, ErrMACTaken},
		{"of another pod, derived", v6.MAC(), ErrMACTaken},
		{"of the bridge", fabric.MAC{2, 0, 0, 0, 0, 1}, ErrMACTaken},
		{"of a port", first.hostMAC(), ErrMACTaken},
		{"of an address", fabric.MAC{0x0a, 0x58, 10, 1, 0, 77}, ErrMACTaken},
		{"group", fabric.MAC{1, 0, 0x5e, 0, 0, 1}, nil},
	} {
		p := h.pod(3, "46")
		p.Hardware = tt.mac
		_, err := h.tryAttach(p, h.netns())
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		h.clean(p.Attachment)
	}
	own := h.pod(3, "4")
	own.Hardware = own.derived()
	h.attach(own, h.netns())
}

// TestAnnouncement: pods that remember an address with its last pod's MAC reach
// the new pod at once, whichever the MAC is now.
func TestAnnouncement(t *testing.T) {
	h := newHost(t)
	inB := h.netns()
	h.attach(h.pod(3, "46"), inB)
	for i, p := range h.pod(2, "46").Addrs {
		inB.run(t, "ip", "neigh", "add", p.Addr().String(), "lladdr", "02:00:00:00:0b:ad", "dev", "eth0", "nud", []string{"stale", "reachable"}[i])
	}
	a := h.pod(2, "46")
	a.Hardware = fabric.MAC{2, 0, 0, 0, 0, 9}
	h.attach(a, h.netns())
	eventually(t, "the new MAC is known", func() bool {
		return strings.Count(inB.run(t, "ip", "neigh"), a.Hardware.String()) == 2
	})
}

func TestAnnouncementFrames(t *testing.T) {
	mac := fabric.MAC{2, 0, 0, 0, 0, 9}
	v4, v6 := netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("fd00::2")
	option := append([]byte{2, 1}, mac[:]...)
	if got, want := advertisement(mac, v6), ip6(v6, allNodes, unix.IPPROTO_ICMPV6, summed(v6, allNodes, append(nd(136, v6), option...))); !bytes.Equal(got, want) {
		t.Errorf("advertisement %x, want %x", got, want)
	}
	if got, want := gratuitousARP(mac, v4), ether(everybody, mac, 0x0806, arpPacket(1, mac, v4, fabric.MAC{}, v4)); !bytes.Equal(got, want) {
		t.Errorf("ARP %x, want %x", got, want)
	}
}

// TestSecondInterface: the first interface's default routes stay, what comes
// from the second's addresses leaves by the second, and making it again, also
// with another address, leaves one rule for each.
func TestSecondInterface(t *testing.T) {
	h := newHost(t)
	in := h.netns()
	h.attach(h.pod(2, "4"), in)
	second := func(n byte) *Pod {
		p := h.pod(n, "46")
		p.Interface = "net1"
		h.attach(p, in)
		return p
	}
	p := second(3)
	if out := in.run(t, "ip", "-4", "route", "show", "default"); !strings.Contains(out, "eth0") || strings.Contains(out, "net1") {
		t.Errorf("default routes: %s", out)
	}
	if out := in.run(t, "ip", "-6", "route", "show", "default"); !strings.Contains(out, "dev net1") {
		t.Errorf("the family that had no default route has none now: %s", out)
	}
	for from, dev := range map[string]string{"10.1.0.2": "eth0", "10.1.0.3": "net1"} {
		if out := in.run(t, "ip", "route", "get", "192.0.2.1", "from", from); !strings.Contains(out, "dev "+dev) {
			t.Errorf("from %s: %s, want %s", from, out, dev)
		}
		in.run(t, "ping", "-c1", "-W10", "-I", from, gateway4.Addr().String())
	}
	for n := range byte(3) {
		if err := Detach(p.Attachment); err != nil {
			t.Fatal(err)
		}
		p = second(4 + n%2)
	}
	rules := in.run(t, "ip", "rule")
	if strings.Count(rules, "15800:") != 1 || !strings.Contains(rules, fmt.Sprintf("from %s lookup %d", p.Addrs[0].Addr(), SourceTable("net1"))) {
		t.Errorf("rules: %s", rules)
	}
}

func TestSysctls(t *testing.T) {
	h := newHost(t)
	p := h.pod(2, "4")
	p.Sysctls = map[string]string{
		"net.ipv4.conf.IFNAME.arp_notify": "1", "net.ipv4.ip_local_port_range": "2000 3000", "net.core.somaxconn": "77",
	}
	in := h.netns()
	h.attach(p, in)
	for key, want := range map[string]string{
		"net/ipv4/conf/eth0/arp_notify": "1", "net/ipv4/ip_local_port_range": "2000\t3000", "net/core/somaxconn": "77",
	} {
		if got := strings.TrimSpace(in.run(t, "cat", "/proc/sys/"+key)); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if got := testns.Run(t, "cat", "/proc/sys/net/core/somaxconn"); strings.TrimSpace(got) == "77" {
		t.Error("the host's sysctl was set")
	}
}

// TestIPv6SwitchedOff: a namespace that was made without IPv6 gets it where the
// fabric has it, and keeps to one family where not.
func TestIPv6SwitchedOff(t *testing.T) {
	for _, families := range []string{"46", "6", "4"} {
		t.Run(families, func(t *testing.T) {
			h := newHost(t)
			p, in := h.pod(2, families), h.netns()
			for _, name := range []string{"all", "default"} {
				in.run(t, "sysctl", "-qw", "net.ipv6.conf."+name+".disable_ipv6=1")
			}
			h.attach(p, in)
			for _, a := range p.Addrs {
				testns.Run(t, "ping", "-c1", "-W10", a.Addr().String())
			}
			if out := in.run(t, "ip", "-6", "addr"); families == "4" && out != "" {
				t.Errorf("IPv6 in a pod without: %s", out)
			}
		})
	}
}

// TestOneLinkLocalAddress: a guarded pod has the link-local address that its guard
// knows, whatever its namespace is told to make.
func TestOneLinkLocalAddress(t *testing.T) {
	h := newHost(t)
	p, in := h.pod(2, "46"), h.netns()
	p.Sysctls = map[string]string{"net.ipv6.conf.IFNAME.addr_gen_mode": "3"} // random
	h.attach(p, in)
	if got, want := in.run(t, "ip", "-6", "addr", "show", "dev", "eth0"), linkLocal(p.MAC()).String(); !strings.Contains(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestFailedAttach: whichever step fails, nothing is left on the host, and the
// next attempt succeeds.
func TestFailedAttach(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, h *host, p *Pod, in netns)
		want  string
	}{
		{"sysctl that is not", func(_ *testing.T, _ *host, p *Pod, _ netns) { p.Sysctls = map[string]string{"net.no.such": "1"} }, "sysctl net.no.such=1: "},
		{"sysctl of the host", func(_ *testing.T, _ *host, p *Pod, _ netns) { p.Sysctls = map[string]string{"kernel.panic": "1"} }, "only those of the network"},
		{"sysctl elsewhere", func(_ *testing.T, _ *host, p *Pod, _ netns) {
			p.Sysctls = map[string]string{"net.../../kernel/panic": "1"}
		}, "is no name"},
		{"interface name", func(t *testing.T, _ *host, _ *Pod, in netns) {
			in.run(t, "ip", "link", "add", "eth0", "type", "bridge")
		}, ErrTaken.Error()},
		{"MTU", func(_ *testing.T, _ *host, p *Pod, _ netns) { p.MTU = 20 }, "interface"},
		{"address", func(t *testing.T, _ *host, p *Pod, _ netns) { p.Addrs[1] = p.Addrs[0] }, "in the container"},
		{"gateway", func(t *testing.T, _ *host, p *Pod, _ netns) { p.Gateways[0] = netip.MustParseAddr("192.0.2.1") }, "in the container"},
		{"bridge gone", func(t *testing.T, _ *host, _ *Pod, _ netns) { testns.Run(t, "ip", "link", "del", "weft0") }, "interface"},
		{"guard", func(t *testing.T, _ *host, _ *Pod, _ netns) {
			testns.Run(t, "nft", "add table bridge weft; add set bridge weft ports { type mark; }")
		}, "guard: nftables table bridge weft"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			p, in := h.pod(2, "46"), h.netns()
			tt.spoil(t, h, p, in)
			if _, err := h.tryAttach(p, in); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			h.clean(p.Attachment)
			if out, err := in.try("ip", "link", "show", "eth0"); err == nil && !strings.Contains(tt.name, "interface") {
				t.Errorf("left in the pod: %s", out)
			}
		})
	}
}

// TestDetach: link and guard go, as often as it is asked for; an interface of
// somebody else's by the name stays, and its guard with it.
func TestDetach(t *testing.T) {
	h := newHost(t)
	p := h.pod(2, "46")
	h.attach(p, h.netns())
	for range 2 {
		if err := Detach(p.Attachment); err != nil {
			t.Fatal(err)
		}
		h.clean(p.Attachment)
	}
	addGuard(t, GuardOf(p.Attachment, p.MAC(), p.Addrs))
	testns.Run(t, "ip", "link", "add", p.HostInterface(), "type", "bridge")
	if err := Detach(p.Attachment); err != nil {
		t.Fatal(err)
	}
	testns.Run(t, "ip", "link", "show", p.HostInterface())
	if err := CheckGuard(GuardOf(p.Attachment, p.MAC(), p.Addrs)); err != nil {
		t.Error(err)
	}
}

// TestBridgeFull: the kernel says so in words, and a guard is not left behind.
func TestBridgeFull(t *testing.T) {
	h := newHost(t)
	var script strings.Builder
	for i := range MaxPorts {
		fmt.Fprintf(&script, "link add x%d mtu 1400 master weft0 type veth peer name y%d\n", i, i)
	}
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(script.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := h.pod(2, "4")
	if _, err := h.tryAttach(p, h.netns()); !errors.Is(err, unix.EXFULL) || !strings.Contains(err.Error(), "as many ports") {
		t.Errorf("%v, want EXFULL", err)
	}
	h.clean(p.Attachment)
}

func TestAlias(t *testing.T) {
	p := &Pod{Attachment: ipam.Attachment{Container: strings.Repeat("c", ipam.MaxContainer), Interface: strings.Repeat("i", ipam.MaxInterface)}}
	p.Addrs = []netip.Prefix{netip.MustParsePrefix("100.100.100.100/24"), netip.MustParsePrefix("fd00:1111:2222:3333:4444:5555:6666:7777/64")}
	for _, mac := range []fabric.MAC{{}, {2, 0, 0, 0, 0, 9}} {
		p.Hardware = mac
		text := p.alias()
		if len(text) > 255 {
			t.Errorf("%d bytes", len(text))
		}
		got, ok := parseOwner(text)
		if !ok || got.Attachment != p.Attachment || got.MAC != p.MAC() || len(got.Addrs) != 2 || got.Addrs[1] != p.Addrs[1].Addr() {
			t.Errorf("%q is read as %+v, %t", text, got, ok)
		}
	}
	for _, text := range []string{"", "weft", "weft-pod c", "weft-pod c eth0 x", "weft-pod c eth0 10.1.0.2 02:00:00:00:00:09", "weft-pod  eth0 10.1.0.2"} {
		if got, ok := parseOwner(text); ok {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}

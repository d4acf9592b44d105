package kernel

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
)

// A gateway's MAC is what the kernel knows; one that is not known is found out
// because somebody asked, and no sooner.
func TestNeighbours(t *testing.T) {
	underlay(t)
	far, up := macOf(t, "up1"), macOf(t, uplink)
	n, err := NewNeighbours()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	static, stale := Hop{uplink, addr("198.18.0.5")}, Hop{uplink, addr("fd18::5")}
	missing := Hop{uplink, addr("198.18.0.6")}
	commands(t, "ip neigh add 198.18.0.5 dev up0 lladdr 02:00:00:00:00:05 nud permanent; ip neigh add fd18::5 dev up0 lladdr 02:00:00:00:00:06 nud stale")
	hops := []Hop{
		static, stale, missing, {"up1", addr("198.18.0.1")}, {"none", addr("198.18.0.7")},
		{"far too long a name for a device", addr("198.18.0.7")}, {uplink, netip.Addr{}}, {"lo", addr("::1")},
	}
	commands(t, "ip addr add 198.18.0.2/24 dev up1; sysctl -qw net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.accept_local=1 net.ipv4.conf.up0.accept_local=1")
	want := map[Hop]fabric.MAC{static: {2, 0, 0, 0, 0, 5}, stale: {2, 0, 0, 0, 0, 6}, hops[3]: up}
	late := time.Now().Add(time.Minute)
	for {
		got, err := n.Lookup(hops)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range []Hop{static, stale} {
			if got[h] != want[h] {
				t.Fatalf("%v: got %s, want %s", h, got[h], want[h])
			}
		}
		if len(got) == len(want) && got[hops[3]] == up {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("never found: %v (far %s)", got, far)
		}
	}
	for address, state := range map[string]string{"198.18.0.5": "PERMANENT", "198.18.0.6": "INCOMPLETE"} {
		if out := run(t, "ip", "neigh", "show", address, "dev", uplink); !strings.Contains(out, state) && !strings.Contains(out, "FAILED") {
			t.Errorf("%s: %s", address, out)
		}
	}
	if out := run(t, "ip", "neigh", "show", "fd18::5", "dev", uplink); strings.Contains(out, "STALE") {
		t.Errorf("nobody asked for it: %s", out)
	}
}

func macOf(t *testing.T, link string) (m fabric.MAC) {
	t.Helper()
	m, err := fabric.ParseMAC(strings.Fields(run(t, "ip", "-br", "link", "show", "dev", link))[2])
	if err != nil {
		t.Fatal(err)
	}
	return m
}

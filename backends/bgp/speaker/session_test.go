package speaker

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/internal/testbgp"
)

// Both families on one IPv4 session, with the right next hops both ways.
func TestBothFamiliesOnOneSession(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	far := n.frr(torConfig("198.18.0.2", "65002"))
	s := n.speaker()
	s.set(wanted(toTor()))
	status := s.established("tors/198.18.0.1")
	if status.RemoteASN != 65001 || status.RouterID != netip.MustParseAddr("198.18.0.1") {
		t.Errorf("far end is AS %d, %s", status.RemoteASN, status.RouterID)
	}
	far.has("ipv4", "10.1.0.0/24", true)
	far.has("ipv6", "fd10:1::/64", true)
	// FRR resolves the next hop only if it is ours on the link.
	testbgp.Poll(t, "FRR uses both", func() (bool, string) {
		out := testnsRoutes(t)
		return strings.Contains(out, "10.1.0.0/24 ") && strings.Contains(out, "via 198.18.0.2") &&
			strings.Contains(out, "fd10:1::/64 ") && strings.Contains(out, "via fd18::2"), out
	})
	testbgp.Poll(t, "routes from FRR", func() (bool, string) {
		r := s.routes()
		ok := slices.Equal(r[pfx("10.9.0.0/24")], []netip.Addr{netip.MustParseAddr("198.18.0.1")}) &&
			slices.Equal(r[pfx("fd99::/64")], []netip.Addr{netip.MustParseAddr("fd18::1")})
		return ok, fmt.Sprint(r)
	})
	testbgp.Poll(t, "synced", func() (bool, string) { return s.call(request{Op: "synced"}).Synced, "" })
	// FRR tells us our own route, too, which is a loop.
	testbgp.Poll(t, "the census", func() (bool, string) {
		st := s.session("tors/198.18.0.1")
		ok := st.Hold.Seconds() == 9
		for _, f := range []bgp.FamilyStatus{st.Families.IPv4, st.Families.IPv6} {
			ok = ok && f.Negotiated && f.EndOfRIB && f.Received == 2 && f.Accepted == 1 && f.Rejected == 1 && f.Advertised == 1
		}
		return ok, fmt.Sprintf("%+v", st)
	})
}

// Questions about addresses are answered with the longest match, and what was
// received says what of it is in use.
func TestQueries(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.frr(torConfig("198.18.0.2", "65002"))
	s := n.speaker()
	d := wanted(toTor())
	d.Announcements = append(d.Announcements, bgp.Announcement{Prefix: pfx("10.8.0.0/15"), Why: "prefix wide"})
	s.set(d)
	s.established("tors/198.18.0.1")
	testbgp.Poll(t, "routes from FRR", func() (bool, string) {
		r := s.routes()
		return len(r[pfx("10.9.0.0/24")]) == 1 && len(r[pfx("fd99::/64")]) == 1, fmt.Sprint(r)
	})
	for address, want := range map[string]string{
		"10.9.0.7": "10.9.0.0/24 tors/198.18.0.1", "10.9.1.7": "10.8.0.0/15 ", "10.10.0.1": "", "fd99::77": "fd99::/64 tors/198.18.0.1", "fd98::": "",
	} {
		a := netip.MustParseAddr(address)
		got := ""
		for _, p := range s.call(request{Op: "match", Prefix: netip.PrefixFrom(a, a.BitLen())}).Paths {
			got += p.Prefix.String() + " " + p.Session
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
	}
	received := map[netip.Prefix]bool{}
	for _, p := range s.call(request{Op: "received", Key: "tors/198.18.0.1"}).Paths {
		received[p.Prefix] = p.Best
	}
	if !received[pfx("10.9.0.0/24")] || !received[pfx("fd99::/64")] || received[pfx("10.1.0.0/24")] { // the last is a loop
		t.Errorf("received, and in use: %v", received)
	}
}

// Why a session does not come up, in words.
func TestReasons(t *testing.T) {
	const plain = "198.18.0.2"
	noIPv4 := strings.Replace(torConfig(plain, "65002"), "neighbor 198.18.0.2 activate", "no neighbor 198.18.0.2 activate", 1)
	tests := []struct {
		name string
		far  string // FRR's configuration
		set  func(*bgp.Session)
		want string // in LastError; empty: the session comes up
	}{
		{"password right", torConfig(plain, "65002", "neighbor 198.18.0.2 password secret"), func(s *bgp.Session) { s.Password = "secret" }, ""},
		{"password differs", torConfig(plain, "65002", "neighbor 198.18.0.2 password secret"), func(s *bgp.Session) { s.Password = "other" }, "wrong password"},
		{"password only here", torConfig(plain, "65002"), func(s *bgp.Session) { s.Password = "secret" }, "wrong password"},
		{"password only there", torConfig(plain, "65002", "neighbor 198.18.0.2 password secret"), func(*bgp.Session) {}, "wrong password"},
		{"GTSM on both", torConfig(plain, "65002", "neighbor 198.18.0.2 ttl-security hops 1"), func(s *bgp.Session) { s.GTSM = 1 }, ""},
		{"GTSM only here", torConfig(plain, "65002"), func(s *bgp.Session) { s.GTSM = 1 }, "GTSM"},
		{"GTSM only there", torConfig(plain, "65002", "neighbor 198.18.0.2 ttl-security hops 1"), func(*bgp.Session) {}, "GTSM"},
		{"far end in another AS", torConfig(plain, "65002"), func(s *bgp.Session) { s.RemoteASN = 65009 }, "wrong AS: the far end is not in AS 65009"},
		{"far end wants another AS", torConfig(plain, "65099"), func(*bgp.Session) {}, "expects another AS"},
		{"any other AS", torConfig(plain, "65002"), func(s *bgp.Session) { s.RemoteASN = 0 }, ""},
		{"our own AS", torConfig(plain, "65001"), func(s *bgp.Session) { s.RemoteASN, s.LocalASN = 0, 65001 }, "our own AS 65001"},
		{"nobody there", "", func(*bgp.Session) {}, "connection refused"},
		{"no session there", torConfig("198.18.0.77", "65002"), func(*bgp.Session) {}, "no session with our address"},
		{"held down", torConfig(plain, "65002"), func(s *bgp.Session) { s.HeldDown = "read /etc/weft/bgp/tors: permission denied" }, "permission denied"},
		{"password too long", torConfig(plain, "65002"), func(s *bgp.Session) { s.Password = bgp.Secret(strings.Repeat("x", 81)) }, "81 bytes"},
		{"bad expression", torConfig(plain, "65002"), func(s *bgp.Session) {
			s.Import = []bgp.Rule{{Name: "in/1", Match: bgp.Match{ASPath: "("}, Action: bgp.Accept}}
		}, "rule in/1"},
		{"shut down there", torConfig(plain, "65002", "neighbor 198.18.0.2 shutdown"), func(*bgp.Session) {}, "shut down"},
		{"one family there", noIPv4, func(*bgp.Session) {}, "does not offer ipv4"},
		{"no family in common", noIPv4, func(s *bgp.Session) { s.Families.IPv6 = false }, "family"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t)
			if tt.far != "" {
				n.frr(tt.far)
			}
			s := n.speaker()
			session := toTor()
			tt.set(&session)
			s.set(wanted(session))
			if tt.want == "" {
				s.established(session.Key)
				return
			}
			testbgp.Poll(t, tt.want, func() (bool, string) {
				st := s.session(session.Key)
				return strings.Contains(st.LastError, tt.want), fmt.Sprintf("%+v", st)
			})
		})
	}
}

// A listener must not let a neighbour in that has no password, and must let it
// in again when none is wanted any more.
func TestPasswordIsDemanded(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	s := n.speaker()
	session := toTor()
	session.Passive, session.Password = true, "secret"
	s.set(wanted(session))
	if conn, err := dialHost(); err == nil {
		conn.Close()
		t.Fatal("a connection without a password is accepted")
	}
	session.Password = ""
	s.set(wanted(session))
	conn, err := dialHost()
	if err != nil {
		t.Fatalf("the password was taken away, and still: %v", err)
	}
	conn.Close()
	session.Password = "secret"
	s.set(wanted(session))
	s.set(wanted()) // gone, and its password with it
	s.set(wanted(toTor()))
	if conn, err = dialHost(); err != nil {
		t.Fatalf("the session was removed and made anew without a password, and still: %v", err)
	}
	conn.Close()
}

// Whoever goes without a NOTIFICATION keeps its routes for its restart time.
func TestFarEndRestarts(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	b := n.bird(birdConfig)
	s := n.speaker()
	s.set(wanted(toBird()))
	s.established("tors/198.18.1.1")
	testbgp.Poll(t, "routes from BIRD", func() (bool, string) { r := s.routes(); return len(r) == 2, fmt.Sprint(r) })
	b.Stop()
	testbgp.Poll(t, "restarting", func() (bool, string) {
		st := s.session("tors/198.18.1.1")
		return st.Restarting && st.State != bgp.Established && st.Flaps == 1, fmt.Sprintf("%+v", st)
	})
	if r := s.routes(); len(r) != 2 {
		t.Errorf("routes while BIRD restarts: %v", r)
	}
	n.bird(birdConfig)
	s.established("tors/198.18.1.1")
	testbgp.Poll(t, "end of RIB", func() (bool, string) {
		st := s.session("tors/198.18.1.1")
		return st.Families.IPv4.EndOfRIB && !st.Restarting, fmt.Sprintf("%+v", st)
	})
	if r := s.routes(); len(r) != 2 {
		t.Errorf("routes after BIRD restarted: %v", r)
	}
}

// A session by interface: link-local addresses, both families over IPv6.
func TestUnnumbered(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	testnsRun(t, "ip", "address", "delete", "fd18::1/64", "dev", "tor0")
	n.in("ip", "address", "delete", "fd18::2/64", "dev", "eth0")
	far := n.frr(`
router bgp 65001
 bgp router-id 198.18.0.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor tor0 interface remote-as external
 neighbor tor0 timers connect 1
 address-family ipv4 unicast
  network 10.9.0.0/24
 exit-address-family
 address-family ipv6 unicast
  neighbor tor0 activate
  network fd99::/64
 exit-address-family
`)
	s := n.speaker()
	session := toTor()
	session.Key, session.Address, session.Interface, session.RemoteASN = "uplinks/eth0", netip.Addr{}, "eth0", 0
	missing := session
	missing.Key, missing.Interface = "uplinks/eth9", "eth9"
	s.set(wanted(session, missing))
	s.established(session.Key)
	far.has("ipv4", "10.1.0.0/24", true)
	far.has("ipv6", "fd10:1::/64", true)
	testbgp.Poll(t, "routes over the link-local neighbour", func() (bool, string) {
		r := s.routes()
		for _, p := range []string{"10.9.0.0/24", "fd99::/64"} {
			hops := r[pfx(p)]
			if len(hops) != 1 || !hops[0].IsLinkLocalUnicast() || hops[0].Zone() != "eth0" {
				return false, fmt.Sprint(r)
			}
		}
		return true, ""
	})
	if st := s.session(missing.Key); !strings.Contains(st.LastError, "eth9") {
		t.Errorf("an interface that is not there: %+v", st)
	}
}

// Without an IPv6 address there is no next hop for IPv6 routes: none are told,
// and that is said.
func TestNoNextHop(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.in("ip", "address", "delete", "fd18::2/64", "dev", "eth0")
	far := n.frr(torConfig("198.18.0.2", "65002"))
	s := n.speaker()
	session := toTor()
	s.set(wanted(session))
	s.established(session.Key)
	far.has("ipv4", "10.1.0.0/24", true)
	if st := s.session(session.Key); !strings.Contains(st.LastError, "no ipv6 address") {
		t.Errorf("%+v", st)
	}
	if out := far.Show("show bgp ipv6 unicast"); strings.Contains(out, "fd10:1::/64") {
		t.Errorf("an IPv6 route with an IPv4 next hop:\n%s", out)
	}
	n.in("ip", "address", "add", "fd18::2/64", "dev", "eth0", "nodad")
	s.set(wanted(session))
	far.has("ipv6", "fd10:1::/64", true)
}

// A reflector tells its clients of each other, and nobody else. The clients
// here share a host, where the other's next hop is an own address that FRR
// refuses: so it says itself.
func TestReflector(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	far := n.frr(strings.Replace(torConfig("198.18.0.2", "65002"), "router bgp 65001", "router bgp 65002", 1))
	other := n.bird(strings.Replace(birdConfig, "as 65011", "as 65002", 1))
	s := n.speaker()
	a, b := toTor(), toBird()
	a.RemoteASN, b.RemoteASN = 65002, 65002
	d := wanted(a, b)
	s.set(d)
	testbgp.Poll(t, "routes of both", func() (bool, string) { r := s.routes(); return len(r) == 3, fmt.Sprint(r) })
	other.has("10.1.0.0/24", true)
	if out := other.Show("route", "all"); strings.Contains(out, "fd99") || strings.Contains(out, "originator") {
		t.Errorf("no client, and still told:\n%s", out)
	}
	for i := range d.Sessions {
		d.Sessions[i].ReflectorClient, d.Sessions[i].ClusterID, d.Sessions[i].NextHopSelf = true, addr("0.0.0.9"), true
	}
	s.set(d)
	testbgp.Poll(t, "BIRD's route at FRR", func() (bool, string) {
		out := far.Show("show bgp ipv4 unicast 10.8.0.0/24")
		return strings.Contains(out, "198.18.0.2 from") && strings.Contains(out, "Originator: 198.18.1.1") && strings.Contains(out, "Cluster list: 0.0.0.9"), out
	})
	testbgp.Poll(t, "counts", func() (bool, string) {
		st := s.session(a.Key).Families.IPv4
		return st.Received == 1 && st.Accepted == 1 && st.Advertised >= 2, fmt.Sprintf("%+v", st)
	})
}

// Long-lived graceful restart, a source and a port of our own, multihop.
func TestOptions(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	far := n.frr(torConfig("198.18.0.2", "65002", "neighbor 198.18.0.2 passive", "neighbor 198.18.0.2 ebgp-multihop 3"))
	s := n.speaker()
	session := toTor()
	session.SourceAddress, session.Multihop = addr("198.18.0.2"), 3
	d := wanted(session)
	d.Global.LongLived, d.Global.Port = time.Hour, 1790
	s.set(d)
	s.established(session.Key)
	testbgp.Poll(t, "the capabilities", func() (bool, string) {
		out := far.Show("show bgp neighbors 198.18.0.2")
		ok := strings.Contains(out, "Long-lived Graceful Restart: advertised and received") &&
			strings.Contains(out, "Received Restart Time(sec): 30") && strings.Count(out, "F bit: True") == 2
		return ok, out
	})
	session.SourceInterface, session.SourceAddress = "eth0", netip.Addr{}
	d.Sessions[0] = session
	s.set(d)
	testbgp.Poll(t, "a session from the interface", func() (bool, string) {
		return far.established("198.18.0.2") == 2 && s.session(session.Key).State == bgp.Established, fmt.Sprint(s.session(session.Key))
	})
}

// Sessions out of a range are those of whoever comes.
func TestRange(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	far := n.frr(torConfig("198.18.0.2", "65002", "neighbor 198.18.0.2 password secret"))
	s := n.speaker()
	template := toTor()
	template.Key, template.Address, template.Password = "racks/198.18.0.0/24", netip.Addr{}, "secret"
	template.Families.IPv6 = false
	d := wanted()
	d.Ranges = []bgp.Range{{Prefix: pfx("198.18.0.0/24"), Template: template}}
	s.set(d)
	s.established("racks/198.18.0.1")
	far.has("ipv4", "10.1.0.0/24", true)
	testbgp.Poll(t, "routes from FRR", func() (bool, string) { r := s.routes(); return len(r) == 1, fmt.Sprint(r) })
	d.Ranges = nil
	s.set(d)
	testbgp.Poll(t, "nothing of it", func() (bool, string) {
		st, r := s.session("racks/198.18.0.1"), s.routes()
		return st.Key == "" && len(r) == 0, fmt.Sprintf("%+v %v", st, r)
	})
	far.has("ipv4", "10.1.0.0/24", false)
}

func TestMaxPrefixes(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.bird(birdConfig)
	s := n.speaker()
	session := toBird()
	session.MaxPrefixes = 1
	s.set(wanted(session))
	testbgp.Poll(t, "the limit", func() (bool, string) {
		st := s.session(session.Key)
		return st.State != bgp.Established && strings.Contains(st.LastError, "maximum number of prefixes"), fmt.Sprintf("%+v", st)
	})
	session.MaxPrefixes = 10
	s.set(wanted(session))
	s.established(session.Key)
	testbgp.Poll(t, "routes", func() (bool, string) { r := s.routes(); return len(r) == 2, fmt.Sprint(r) })
}

package hostile

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/internal/testbgp"
	"github.com/weft-net/weft/internal/testns"
)

func TestMain(m *testing.M) { os.Exit(testns.Main(m)) }

// bird starts BIRD on 198.18.0.1, which waits for this speaker on 198.18.0.2.
func bird(t *testing.T) *testbgp.BIRD {
	t.Helper()
	testns.New(t)
	testns.Run(t, "ip", "address", "add", "198.18.0.1/32", "dev", "lo")
	testns.Run(t, "ip", "address", "add", "198.18.0.2/32", "dev", "lo")
	return testbgp.StartBIRD(t, `router id 198.18.0.1;
protocol device { }
protocol bgp far {
	local 198.18.0.1 as 65001; neighbor 198.18.0.2 as 64999; multihop; passive;
	ipv4 { import all; export none; };
	ipv6 { import all; export none; };
}
`)
}

// open dials BIRD until it answers.
func open(t *testing.T) *Session {
	t.Helper()
	dialer := net.Dialer{Timeout: time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(198, 18, 0, 2)}}
	var s *Session
	testbgp.Poll(t, "a session", func() (bool, string) {
		conn, err := dialer.DialContext(context.Background(), "tcp", "198.18.0.1:179")
		if err == nil {
			s, err = Open(conn, Config{ASN: 64999, RouterID: netip.MustParseAddr("198.18.0.2"), Restart: true})
		}
		return err == nil, fmt.Sprint(err)
	})
	t.Cleanup(s.Close)
	return s
}

func send(t *testing.T, s *Session, updates ...Update) {
	t.Helper()
	for _, u := range updates {
		if err := s.Send(u.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTrueMessages: what is not damaged on purpose is understood.
func TestTrueMessages(t *testing.T) {
	far := bird(t)
	s := open(t)
	if s.ASN != 65001 {
		t.Errorf("the far end's AS is %d", s.ASN)
	}
	four := []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("10.244.2.0/23")}
	six := []netip.Prefix{netip.MustParsePrefix("fd00:10:244:1::/64")}
	send(t, s, Route(netip.MustParseAddr("198.18.0.2"), []uint32{64999}, four, CommunityList(64999<<16|7)))
	send(t, s, Route(netip.MustParseAddr("2001:2::2"), []uint32{64999, 4200000001}, six))
	send(t, s, EndOfRIB()...)
	testbgp.Poll(t, "the routes", func() (bool, string) {
		all := far.Show("route", "all")
		return strings.Contains(all, "10.244.1.0/24") && strings.Contains(all, "10.244.2.0/23") &&
			strings.Contains(all, "(64999,7)") && strings.Contains(all, "fd00:10:244:1::/64") && strings.Contains(all, "64999 4200000001"), all
	})
	send(t, s, Withdraw(four[:1]), Withdraw(six))
	testbgp.Poll(t, "the withdrawals", func() (bool, string) {
		all := far.Show("route", "all")
		return !strings.Contains(all, "10.244.1.0/24") && strings.Contains(all, "10.244.2.0/23") && !strings.Contains(all, "fd00"), all
	})
}

// TestNotification: damage that RFC 4271 calls fatal ends the session, and the
// reason is heard.
func TestNotification(t *testing.T) {
	bird(t)
	s := open(t)
	broken := Message(typeUpdate, nil)
	broken[3] = 0 // the marker
	if err := s.Send(broken); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the session lasts")
	}
	if _, n := s.Heard(); n != (Notification{1, 1}) {
		t.Errorf("got %v, want 1/1: connection not synchronized", n)
	}
}

func TestCorpus(t *testing.T) {
	hop := netip.MustParseAddr("198.18.0.2")
	a, b := Corpus(1, 600, hop), Corpus(1, 600, hop)
	seen := map[string]bool{}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			t.Fatalf("message %d differs between two runs", i)
		}
		if len(a[i]) < headerSize || len(a[i]) > maxMessage {
			t.Fatalf("message %d has %d bytes", i, len(a[i]))
		}
		seen[string(a[i])] = true
	}
	if len(seen) < 500 {
		t.Errorf("only %d different messages", len(seen))
	}
}

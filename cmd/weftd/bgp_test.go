package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/internal/testns"
)

// A stop, a crash and a crash of the agent that comes right after cost neither a
// packet nor a withdrawal, and the kernel not a message.
func TestRestartWithBGPLosesNothing(t *testing.T) {
	r := newRack(t, "", theTors)
	r.start()
	lease := r.lease()
	r.torHas(lease, true)
	r.session("first start", established)
	gateway := strings.Replace(lease, ".0/24", ".1", 1)

	watch := r.background("nsenter", "--net=/proc/"+r.pid+"/ns/net", "ip", "-4", "monitor", "route")
	ping := r.background("nsenter", "--net=/proc/"+r.pid+"/ns/net", "ping", "-q", "-i", "0.01", "-I", "198.18.1.1", gateway)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGKILL} {
		r.stop(sig)
		r.start()
		poll(t, func() error { _, err := r.bgp(); return err })
	}
	r.session("after the restarts", established)
	s := r.ready()
	if s.Writes != 0 {
		t.Errorf("the last start wrote %d messages", s.Writes)
	}
	if err := ping.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = ping.Wait()
	out := ping.Stdout.(*buffer).String()
	var sent, got int
	counts := regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`).FindString(out)
	if _, err := fmt.Sscanf(counts, "%d packets transmitted, %d received", &sent, &got); err != nil || got == 0 || sent-got > 1 { // one may be under way
		t.Errorf("packets were lost: %v\n%s", err, out)
	}
	if changes := watch.Stdout.(*buffer).String(); strings.Contains(changes, "Deleted 10.244.") {
		t.Errorf("the switch's kernel lost routes:\n%s", changes)
	}
	if have := testns.Run(t, "ip", "route", "show", "proto", "158"); !strings.Contains(have, "10.244.200.0/24 nhid") || strings.Contains(have, "default") {
		t.Errorf("routes\n%s\nwant the other node's and no default route", have)
	}
}

// A host with two links loses one, and then the other: the routes move, and the
// session over the link that is left is not touched, although the underlay is
// found under another address and the lost gateway has no default route.
func TestLostLinkLeavesTheOtherSessionAlone(t *testing.T) {
	r := newRack(t, "", theTors)
	r.secondLink()
	r.start()
	r.ready()
	kernelHas := func(what string, want bool) {
		t.Helper()
		poll(t, func() error {
			why, err := r.client().BGPWhy(context.Background(), "10.244.200.0/24")
			if err != nil {
				return err
			}
			for _, s := range why.Stations {
				if s.Name == "kernel" && strings.Contains(s.Detail, what) == want {
					return nil
				}
			}
			return fmt.Errorf("kernel has %q: want %t in %+v", what, want, why.Stations)
		})
	}
	for _, address := range []string{"198.18.1.1", "198.18.2.1"} {
		r.sessionWith(address, established)
		kernelHas(address, true)
	}
	started, err := r.bgp()
	if err != nil {
		t.Fatal(err)
	}
	for link, c := range map[string]struct{ lost, left string }{"far0": {"198.18.1.1", "198.18.2.1"}, "far1": {"198.18.2.1", "198.18.1.1"}} {
		left := r.sessionWith(c.left, established)
		r.tor("ip", "link", "set", link, "down")
		r.defaultRoute(c.left) // as network managers do when they see the carrier go
		kernelHas(c.lost, false)
		kernelHas(c.left, true)
		r.sessionWith(c.lost, func(s api.BGPSession) bool { return !established(s) })
		now, err := r.bgp()
		if err != nil {
			t.Fatal(err)
		}
		if now.RouterID != started.RouterID || len(now.Pending) != 0 {
			t.Errorf("%s: router id %s was %s, pending %v", link, now.RouterID, started.RouterID, now.Pending)
		}
		if s := r.sessionWith(c.left, established); s.Flaps != left.Flaps || !s.Since.Equal(left.Since) {
			t.Errorf("%s: the other session was reset: %+v", link, s)
		}
		r.tor("ip", "link", "set", link, "up")
		r.defaultRoute("198.18.1.1", "198.18.2.1")
		r.sessionWith(c.lost, established)
		kernelHas(c.lost, true)
		r.ready()
	}
}

// A host that boots while etcd is down peers by what it knew.
func TestPeersWhileEtcdIsDown(t *testing.T) {
	r := newRack(t, "", theTors)
	r.start()
	lease := r.lease()
	poll(t, func() error { // the snapshot is cached when the dust has settled
		data, err := os.ReadFile(filepath.Join(r.dir, "state", "snapshot.json"))
		if err == nil && !strings.Contains(string(data), "tors") {
			err = fmt.Errorf("cached: %s", data)
		}
		return err
	})
	r.stop(syscall.SIGTERM)
	r.stopEtcd()
	if err := os.RemoveAll(filepath.Join(r.dir, "run")); err != nil { // as a reboot does
		t.Fatal(err)
	}
	r.start()
	r.session("with the cached objects", established)
	r.torHas(lease, true)
}

const passwordPeer = `
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: tors}
spec: {nodes: {}, peer: {gateways: all}, asn: external, auth: {md5File: %s}}
`

// A password's file that is missing holds its session down and says why; one
// that changes is one reset.
func TestPasswordFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	r := newRack(t, `password "one";`, fmt.Sprintf(passwordPeer, file))
	r.start()
	held := r.session("no file", func(s api.BGPSession) bool { return s.State == "held" })
	if !strings.Contains(held.Reason, "no such file") {
		t.Errorf("held because of %q", held.Reason)
	}
	put := func(secret string) {
		if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("one\n")
	first := r.session("the file came", established)
	r.torHas(r.lease(), true)
	r.configureBird(`password "two";`)
	r.birdc("configure")
	put("two\n")
	second := r.session("the password changed", func(s api.BGPSession) bool { return established(s) && s.Since.After(first.Since) })
	if n := second.Flaps - first.Flaps; n != 1 {
		t.Errorf("the change cost %d resets, want one", n)
	}
	if log := r.log.String(); strings.Contains(log, `"one"`) || strings.Contains(log, `"two"`) {
		t.Errorf("the log shows the password:\n%s", log)
	}
	if b, err := r.bgp(); err != nil || len(b.Pending) != 0 {
		t.Errorf("pending %v, %v", b.Pending, err)
	}
}

const service = `
apiVersion: weft/v1
kind: BGPPrefix
metadata: {name: service}
spec: {nodes: {}, prefixes: [198.19.0.1/32], health: {tcp: "127.0.0.1:7777", interval: 1s, rise: 4, fall: 2}}
`

// A service that answers is announced, one that does not is withdrawn, and a
// restart of the agent is neither.
func TestHealthAnnouncesAndWithdraws(t *testing.T) {
	r := newRack(t, "", theTors, service)
	r.start()
	r.ready()
	r.torHas("198.19.0.1", false)
	l := listen(t, "127.0.0.1:7777")
	r.torHas("198.19.0.1", true)
	watch := r.background("nsenter", "--net=/proc/"+r.pid+"/ns/net", "ip", "-4", "monitor", "route")
	r.stop(syscall.SIGKILL)
	r.start()
	r.ready()
	r.session("after a crash", established)
	if changes := watch.Stdout.(*buffer).String(); strings.Contains(changes, "Deleted 198.19.0.1") {
		t.Errorf("a restart withdrew the service:\n%s", changes)
	}
	l.Close()
	r.torHas("198.19.0.1", false)
	b, err := r.bgp()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range b.Announced {
		if a.Prefix.String() == "198.19.0.1/32" && a.Withheld == "" {
			t.Errorf("announcements %+v; want a reason why it is withheld", b.Announced)
		}
	}
}

const anycast = `
apiVersion: weft/v1
kind: BGPPrefix
metadata: {name: anycast}
spec: {nodes: {}, prefixes: [198.19.0.9/32]}
`

// A drain: the graceful-shutdown community first, then the withdrawal, then
// the proof that nobody sends any more; the leases stay.
func TestDrainAndUndrain(t *testing.T) {
	r := newRack(t, "", theTors, anycast)
	r.start()
	lease := r.lease()
	r.torHas("198.19.0.9", true)
	r.etcdctl("put", "/weft/v1/drained/a", `{"since":"2026-01-02T03:04:05Z"}`)
	poll(t, func() error {
		if out := r.birdc("show", "route", "198.19.0.9/32", "all"); !strings.Contains(out, "(65535,0)") {
			return fmt.Errorf("no graceful-shutdown community:\n%s", out)
		}
		return nil
	})
	r.torHas("198.19.0.9", false)
	r.torHas(lease, true)
	poll(t, func() error {
		if out := r.etcdctl("get", "/weft/v1/drained/a"); !strings.Contains(out, `"quiet"`) {
			return fmt.Errorf("the record says\n%s", out)
		}
		return nil
	})
	r.stop(syscall.SIGKILL)
	r.start()
	r.ready()
	r.session("restarted while drained", established)
	r.torHas("198.19.0.9", false)
	r.etcdctl("del", "/weft/v1/drained/a")
	r.torHas("198.19.0.9", true)
}

// A host that goes down leaves nothing at the switch, not even for the
// graceful-restart time.
func TestShutdownLeavesNothing(t *testing.T) {
	r := newRack(t, "", theTors, anycast)
	r.start()
	lease := r.lease()
	r.torHas(lease, true)
	have := testns.Run(t, "ip", "route", "show", "proto", "158")
	if err := r.client().BGPShutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{lease, "198.19.0.9"} {
		if out := r.tor("ip", "route", "show", prefix); out != "" {
			t.Errorf("the switch keeps %s", out)
		}
	}
	if out := r.birdc("show", "route", "protocol", "host"); strings.Contains(out, "10.244.") {
		t.Errorf("the switch keeps\n%s", out)
	}
	if now := testns.Run(t, "ip", "route", "show", "proto", "158"); now != have {
		t.Errorf("the host's routes went:\n%s\nwant\n%s", now, have)
	}
	if b, err := r.bgp(); err != nil || b.State != "shut down" {
		t.Errorf("state %+v, %v", b, err)
	}
	if err := r.client().BGPShutdown(context.Background()); err != nil {
		t.Errorf("a second time: %v", err)
	}
	r.stop(syscall.SIGTERM)
	r.start()
	r.ready()
	r.torHas(lease, true)
}

// `weft bgp why` finds the station at fault.
func TestWhy(t *testing.T) {
	r := newRack(t, "", theTors)
	r.start()
	lease := r.lease()
	r.session("started", established)
	if record := r.etcdctl("get", "/weft/v1/nodes/a"); !strings.Contains(record, `"receives":["vxlan","direct","bgp"]`) || !strings.Contains(record, `"labels":{"rack":"r1"}`) {
		t.Errorf("the node's record is\n%s", record)
	}
	for _, c := range []struct{ prefix, station, state, detail string }{
		{lease, "announced", "ok", "lease"},
		{lease, "probe", "ok", "answers"},
		{"10.244.77.1", "lease", "fault", "nobody leases it"},
		{"10.244.77.1", "received", "fault", "no peer tells"},
		{"10.244.200.0/24", "received", "ok", "tors/198.18.1.1"},
		{"10.244.200.0/24", "kernel", "ok", "via 198.18.1.1 on eth0"},
		{"10.244.200.1", "best", "ok", "198.18.1.1"},
	} {
		poll(t, func() error {
			why, err := r.client().BGPWhy(context.Background(), c.prefix)
			if err != nil {
				return err
			}
			for _, s := range why.Stations {
				if s.Name == c.station && s.State == c.state && strings.Contains(s.Detail, c.detail) {
					return nil
				}
			}
			return fmt.Errorf("%s: want %s %s %q in %+v", c.prefix, c.station, c.state, c.detail, why)
		})
	}
	if _, err := r.client().BGPWhy(context.Background(), "nonsense"); err == nil || !strings.Contains(err.Error(), "neither a prefix nor an address") {
		t.Errorf("nonsense: %v", err)
	}
	if _, err := r.client().BGPReceived(context.Background(), "nobody"); err == nil || !strings.Contains(err.Error(), `no session is called "nobody"`) {
		t.Errorf("nobody: %v", err)
	}
	routes, err := r.client().BGPReceived(context.Background(), "tors")
	if err != nil || len(routes) == 0 {
		t.Errorf("received %v, %v", routes, err)
	}
	if told, err := r.client().BGPAdvertised(context.Background(), "198.18.1.1"); err != nil || len(told) != 1 || told[0].Prefix.String() != lease {
		t.Errorf("advertised %v, %v", told, err)
	}
	if page := get(t, "/metrics"); !strings.Contains(page, `weft_bgp_session_state{session="tors/198.18.1.1",state="established"} 1`) ||
		!strings.Contains(page, `weft_bgp_routes{state="wanted"} 1`) {
		t.Errorf("metrics:\n%s", page)
	}
}

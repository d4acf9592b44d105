package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel/rtnl"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// direct is peer i reached without the overlay.
func direct(i int) Objects {
	o := peer(i, fabric.IPv4, fabric.IPv6)
	o.FDB, o.Neighs = nil, nil
	for k := range o.Nexthops {
		o.Nexthops[k].Link, o.Nexthops[k].OnLink = uplink, false
		o.Nexthops[k].Gateway = [...]netip.Addr{addr("198.18.0.9"), addr("fd18::9")}[k]
	}
	return o
}

// When the uplink loses its carrier the kernel drops the nexthop objects on it
// and their routes without a word; when it goes, the overlay goes with it.
func TestUplinkComesBack(t *testing.T) {
	tests := []struct{ name, down, up, reason string }{
		{"carrier", "ip link set up1 down", "ip link set up1 up", "Carrier for nexthop device is down"},
		{"down", "ip link set up0 down", "ip link set up0 up; ip addr replace fd18::1/64 dev up0 nodad", "Nexthop device is not up"},
		{
			"deleted", "ip link del up0",
			"ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up; ip addr add 198.18.0.1/24 dev up0; ip addr add fd18::1/64 dev up0 nodad",
			"there is no device up0",
		},
		{"deleted and back at once", "ip link del up0; ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up; ip addr add 198.18.0.1/24 dev up0; ip addr add fd18::1/64 dev up0 nodad", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			underlay(t)
			w := join(base("198.18.0.1"), peers(2), direct(3))
			if tt.name == "carrier" {
				w.Links[0].VXLAN.Uplink = "" // only direct(3) is concerned
			}
			h := open(t, w)
			inSync(t, h)
			commands(t, tt.down)
			if tt.reason != "" {
				until(t, h, func(r Report) bool { return strings.Contains(problems(r), tt.reason) })
				commands(t, tt.up)
			}
			until(t, h, func(r Report) bool { return r.InSync && len(r.Repaired) > 0 })
			idle(t, h)
		})
	}
}

// An uplink under a new name is the same uplink: the overlay on it stays.
func TestUplinkRenamed(t *testing.T) {
	underlay(t)
	w := join(base("198.18.0.1"), peers(2))
	h := open(t, w)
	inSync(t, h)
	before, err := h.state.ifaces.index(overlay)
	if err != nil {
		t.Fatal(err)
	}
	commands(t, "ip link set up0 down; ip link set up0 name up9; ip link set up9 up")
	w.Links[0].VXLAN.Uplink = "up9"
	h.SetWant(w)
	inSync(t, h)
	if after, err := h.state.ifaces.index(overlay); err != nil || after != before {
		t.Errorf("the overlay was number %d and is %d: %v", before, after, err)
	}
	idle(t, h)
}

// until syncs on each signal until done: a veth's carrier comes and goes a
// moment after its end does (net/core/link_watch.c).
func until(t *testing.T, h *Host, done func(Report) bool) Report {
	t.Helper()
	late := time.After(time.Minute)
	var r Report
	for {
		select {
		case <-h.Changed():
		case <-late:
			t.Fatalf("not reached in a minute; last: %+v%s", r, problems(r))
		}
		if r = doSync(t, h); done(r) {
			return r
		}
	}
}

// Lost notifications cost a dump and nothing else.
func TestOverrun(t *testing.T) {
	underlay(t)
	h, err := Open(Options{Buffer: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	h.SetWant(join(base("198.18.0.1"), peers(100)))
	inSync(t, h)
	idle(t, h)
	for i := range 20 {
		run(t, "ip", "neigh", "add", fmt.Sprintf("10.88.0.%d", i), "lladdr", "02:00:00:00:00:99", "nud", "permanent", "dev", "up1")
	}
	commands(t, "ip route del 10.0.7.0/24; ip nexthop del id 0x57000020; bridge fdb del 02:00:00:00:00:09 dev weft.1")
	r := inSync(t, h)
	if !r.Dumped || r.Repaired["route"] != 2 || r.Repaired["nexthop"] != 1 || r.Repaired["fdb"] != 1 {
		t.Errorf("got %+v", r)
	}
	idle(t, h)
}

// A dump that the kernel says was interrupted is begun again, and what the
// first attempts showed is forgotten; one that never ends whole is an error.
func TestInterruptedDump(t *testing.T) {
	underlay(t)
	h := open(t, join(base("198.18.0.1"), peers(1000)))
	inSync(t, h)
	other, err := rtnl.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	up, err := h.state.ifaces.index(uplink)
	if err != nil {
		t.Fatal(err)
	}
	id := uint32(7)
	disturb := func() {
		var b rtnl.Batch
		nexthopHeader(&b, unix.RTM_NEWNEXTHOP, unix.NLM_F_CREATE, unix.AF_INET, 0)
		b.U32(unix.NHA_ID, id)
		b.U32(unix.NHA_OIF, up)
		b.Addr(unix.NHA_GATEWAY, addr("198.18.0.9"))
		if errs, err := other.Execute(&b); err != nil || errs[0] != nil {
			t.Errorf("disturb: %v %v", err, errs)
		}
		id++
	}
	for _, disturbed := range []int{2, dumpTries} {
		begun, ended := 0, 0
		err := h.dump(nexthops, func() { h.state.nexthops.beginDump(); begun++ }, func() error {
			h.batch.Reset()
			nexthopHeader(&h.batch, unix.RTM_GETNEXTHOP, 0, unix.AF_UNSPEC, 0)
			first := true
			return h.conn.Dump(&h.batch, func(m rtnl.Message) error {
				if first && begun <= disturbed {
					disturb()
				}
				first = false
				h.fold(m, true)
				return nil
			})
		}, func() { h.state.nexthops.endDump(); ended++ })
		if disturbed < dumpTries && (err != nil || begun != disturbed+1 || ended != 1) {
			t.Errorf("disturbed %d times: %v, begun %d, ended %d", disturbed, err, begun, ended)
		}
		if disturbed == dumpTries && (!errors.Is(err, rtnl.ErrInterrupted) || ended != 0) {
			t.Errorf("disturbed always: %v, ended %d", err, ended)
		}
	}
	idle(t, h)
}

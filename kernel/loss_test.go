package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

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
			h := open(t, join(base("198.18.0.1"), peers(2), direct(3)))
			inSync(t, h)
			commands(t, tt.down)
			<-h.Changed()
			if tt.reason != "" {
				if r := doSync(t, h); !strings.Contains(problems(r), tt.reason) {
					t.Errorf("want %q, got:%s", tt.reason, problems(r))
				}
				commands(t, tt.up)
				<-h.Changed()
			}
			settled(t, h)
			idle(t, h)
		})
	}
}

// settled syncs on each signal until all is in place: a veth's carrier comes a
// moment after its end goes up.
func settled(t *testing.T, h *Host) {
	t.Helper()
	for {
		r := doSync(t, h)
		if r.InSync {
			return
		}
		select {
		case <-h.Changed():
		case <-t.Context().Done():
			t.Fatalf("never in sync:%s", problems(r))
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

// A change is signalled once; the next signal comes after a Sync, and the
// echo of the Host's own writes raises none.
func TestChangedSignalsOnce(t *testing.T) {
	underlay(t)
	h := open(t, join(base("198.18.0.1"), peers(2)))
	inSync(t, h)
	quiet := func(when string) {
		t.Helper()
		select {
		case <-h.Changed():
			t.Errorf("signal %s", when)
		default:
		}
	}
	quiet("for own writes")
	for range 3 {
		commands(t, "ip route del 10.0.1.0/24; ip route del 10.0.2.0/24")
		<-h.Changed()
		commands(t, "ip -6 route del fd00:1:0:1::/64")
		quiet("while one is taken and no sync was")
		inSync(t, h)
		quiet("after all was read")
	}
	commands(t, "ip route del 10.0.1.0/24") // and nobody comes
	<-h.Changed()
	if n := len(h.waiter.armed); n != 0 {
		t.Errorf("the waiter was armed %d times", n)
	}
}

package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// FuzzFold: whatever a message holds, folding it neither panics nor invents an
// object that a plan could not delete.
func FuzzFold(f *testing.F) {
	header := func(n int, first byte) []byte { return append([]byte{first}, make([]byte, n-1)...) }
	f.Add(uint16(unix.RTM_NEWROUTE), append(header(unix.SizeofRtMsg, unix.AF_INET), 8, 0, 1, 0, 10, 0, 1, 0))
	f.Add(uint16(unix.RTM_DELROUTE), header(unix.SizeofRtMsg, unix.AF_INET6))
	f.Add(uint16(unix.RTM_NEWNEIGH), append(header(sizeofNdMsg, unix.AF_BRIDGE), 10, 0, 2, 0, 2, 0, 0, 0, 0, 1, 0, 0))
	f.Add(uint16(unix.RTM_NEWNEXTHOP), append(header(sizeofNhMsg, unix.AF_INET), 8, 0, 1, 0, 0x10, 0, 0, 0x57))
	f.Add(uint16(unix.RTM_NEWNEXTHOP), append(header(sizeofNhMsg, 0), 8, 0, 1, 0, 0x10, 0, 0, 0x56, 12, 0, 2, 0, 0x11, 0, 0, 0x56, 0, 0, 0, 0))
	f.Add(uint16(unix.RTM_NEWROUTE), append(header(unix.SizeofRtMsg, unix.AF_INET), 20, 0, 9, 0, 16, 0, 0, 0, 1, 0, 0, 0, 8, 0, 5, 0, 198, 18, 0, 1))
	f.Add(uint16(unix.RTM_NEWADDR), append(header(unix.SizeofIfAddrmsg, unix.AF_INET), 8, 0, 2, 0, 10, 0, 0, 1))
	f.Add(uint16(unix.RTM_NEWLINK), append(header(unix.SizeofIfInfomsg, 0), 10, 0, 3, 0, 'w', 'e', 'f', 't', '0', 0, 0, 0))
	f.Add(uint16(unix.RTM_DELLINK), header(unix.SizeofIfInfomsg, 0))
	f.Fuzz(func(t *testing.T, typ uint16, data []byte) {
		h := &Host{state: newState()}
		h.state.ifaces.set(0, iface{name: overlay, own: VXLAN})
		for _, dumping := range []bool{true, false} {
			h.fold(rtnl.Message{Type: typ, Data: data}, dumping)
		}
		h.state.tidy()
		h.ops = plan(&h.state, planLinks(&h.state, nil))
		p := &pass{Host: h, failed: map[ref]error{}}
		for _, o := range h.ops {
			if o.kind == links {
				continue
			}
			if err := p.encode(o); err != nil {
				t.Errorf("cannot delete what was found: %v", err)
			}
			_ = h.state.text(o.kind, o.slot)
		}
		if len(data) >= unix.SizeofRtMsg {
			_ = h.state.ifaces.routeHops(data, netip.IPv4Unspecified())
		}
	})
}

func TestIntervals(t *testing.T) {
	tests := []struct {
		name, in string
		bits     int
		want     string
	}{
		{"none", "", 32, ""},
		{"of a family", "10.0.0.0/8 fd00::/8", 32, "10.0.0.0-10.255.255.255"},
		{"of the other", "10.0.0.0/8 fd00::/16", 128, "fd00::-fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"inside another", "10.1.0.0/16 10.0.0.0/8 10.2.0.0/16", 32, "10.0.0.0-10.255.255.255"},
		{"touching", "10.0.1.0/24 10.0.0.0/24", 32, "10.0.0.0-10.0.1.255"},
		{"apart", "10.0.2.0/24 10.0.0.0/24", 32, "10.0.0.0-10.0.0.255 10.0.2.0-10.0.2.255"},
		{"to the end", "240.0.0.0/4 255.255.255.255/32", 32, "240.0.0.0-255.255.255.255"},
		{"everything", "0.0.0.0/0 10.0.0.0/8", 32, "0.0.0.0-255.255.255.255"},
		{"host bits", "10.0.0.7/24", 32, "10.0.0.0-10.0.0.255"},
	}
	for _, tt := range tests {
		got, err := intervals(tt.bits, tt.in)
		var text []string
		for _, i := range got {
			text = append(text, fmt.Sprintf("%s-%s", i.first, i.last))
		}
		if diff := cmp.Diff(tt.want, strings.Join(text, " ")); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, diff)
		}
	}
	if _, err := intervals(32, "10.0.0.0/8 nonsense"); err == nil {
		t.Error("nonsense accepted")
	}
}

// The sets hold on the real kernel at the edges of the address space too, and
// a change of what is wanted replaces the table.
func TestMasqueradeChanges(t *testing.T) {
	underlay(t)
	h := open(t, Objects{})
	for _, m := range []Masquerade{
		{Sources: "10.0.0.0/8"},
		{Sources: "10.0.0.0/8", Except: "0.0.0.0/1 240.0.0.0/4 fd00::/8"},
		{Sources: "10.0.0.0/9 10.128.0.0/9 fd00::/48", Except: "::/0"},
		{Sources: "fd00::/48", Except: "ff00::/8"},
		{},
		{Sources: "0.0.0.0/0 ::/0"},
	} {
		h.SetWant(Objects{Masquerade: m})
		if r := inSync(t, h); len(r.Repaired) != 0 {
			t.Errorf("%v: repaired %v", m, r.Repaired)
		}
		idle(t, h)
		idle(t, open(t, Objects{Masquerade: m}))
	}
	h.SetWant(Objects{Masquerade: Masquerade{Sources: "10.0.0.0/33"}})
	if r := doSync(t, h); len(r.Failed) != 1 || !strings.Contains(problems(r), "10.0.0.0/33") {
		t.Errorf("got:%s", problems(r))
	}
	h.Update(Objects{Masquerade: Masquerade{Sources: "10.0.0.0/33"}}, Objects{})
	inSync(t, h)
	if out := run(t, "nft", "list", "ruleset"); out != "" {
		t.Errorf("left behind: %s", out)
	}
}

func TestProbed(t *testing.T) {
	if err := probed(&rtnl.Error{Errno: unix.ENOENT}); err != nil {
		t.Errorf("a kernel without such a nexthop: %v", err)
	}
	err := probed(&rtnl.Error{Errno: unix.EOPNOTSUPP})
	if err == nil || !strings.Contains(err.Error(), "nexthop objects") || !strings.Contains(err.Error(), "5.3") {
		t.Errorf("got %v", err)
	}
	if err := linkError(VXLAN, &rtnl.Error{Errno: unix.EOPNOTSUPP, Text: "Unknown device type"}); !strings.Contains(err.Error(), "module vxlan") || !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("got %v", err)
	}
}

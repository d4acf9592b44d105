package cni

import (
	"encoding/json"
	"testing"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/ipam"
)

func TestAddAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24", "fd00::/64")
	p := w.pod("c1")
	_, first := w.add(p)
	_, second := w.add(p)
	var a, b current.Result
	if err := json.Unmarshal(first, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(second, &b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a.IPs, b.IPs); diff != "" || len(w.ports()) != 1 {
		t.Errorf("ports %v, addresses (-first +second):\n%s", w.ports(), diff)
	}
	// A new sandbox of the same name, while the old one was never detached.
	q := w.pod("c1")
	w.add(q)
	if diff := cmp.Diff([]string{"lo"}, w.links(p)); diff != "" {
		t.Errorf("the old sandbox (-want +got):\n%s", diff)
	}
	w.in(q, "ping", "-c", "1", "-w", "20", "10.1.2.1")
	w.del(q)
	w.clean(q)
}

// TestRefusedAgain: an ADD that follows another without a DEL and is refused
// leaves nothing of either. (The first one's interface makes way before the
// second has an address.)
func TestRefusedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24", "fd00::/64")
	p := w.pod("c1")
	w.add(p)
	w.fails(call{command: "ADD", id: p.id, netns: p.netns, env: []string{"CNI_ARGS=IP=10.1.2.1"}}, codeReserved, "10.1.2.1")
	w.clean(p)
}

// TestOvertaken: two ADDs of one attachment at once, which no runtime should do:
// the one that comes second finds the name taken when it makes its interface,
// and what the first one has stays as it is.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24", "fd00::/64")
	p := w.pod("c1")
	w.add(p)
	before := w.inUse()
	files, err := ipam.NewSlots(w.runDir, ipam.Options{})
	if err != nil {
		t.Fatal(err)
	}
	second := attempt{request: request{Attachment: ipam.Attachment{Container: p.id, Interface: "eth0"}, conf: conf{RunDir: w.runDir}}}
	second.grant = ipam.Grant{Attachment: second.Attachment}
	if err := second.abandon(fail(codeKernel, plumb.ErrTaken, "attach"), files); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, w.inUse()); diff != "" {
		t.Errorf("in use (-before +after):\n%s", diff)
	}
	w.in(p, "ping", "-c", "1", "-w", "20", "10.1.2.1")
}

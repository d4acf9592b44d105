package faults

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"

	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/ipam"
)

// state is everything on a host that belongs to attachments, each by its
// attachment ("container/interface").
type state struct {
	slots   map[string][]netip.Addr // in use
	links   map[string][]netip.Addr // as the alias of the host interface says
	records map[string][]netip.Addr
	strays  []string // what belongs to no attachment: broken files, interfaces without an alias, temporary files
}

// read looks at the host, which must be the caller's namespace.
func (h *host) read() (state, error) {
	s := state{slots: map[string][]netip.Addr{}, links: map[string][]netip.Addr{}, records: map[string][]netip.Addr{}}
	files, err := ipam.NewSlots(h.runDir, ipam.Options{InUse: plumb.InUse, Note: func(file, reason string) {
		s.strays = append(s.strays, fmt.Sprintf("slot file %s was made anew: %s", file, reason))
	}})
	if err != nil {
		return s, err
	}
	list, err := files.List(h.t.Context())
	if err != nil {
		return s, err
	}
	for _, slot := range list {
		if slot.InUse {
			s.slots[slot.Attachment.String()] = append(s.slots[slot.Attachment.String()], slot.Addr)
		}
	}
	kernel, err := plumb.ReadHost()
	if err != nil {
		return s, err
	}
	known := map[string]bool{}
	for _, u := range kernel.InUse {
		known[u.HostInterface()] = true
		s.links[u.Attachment.String()] = append(s.links[u.Attachment.String()], u.Addr)
	}
	for name := range kernel.Links {
		if ipam.IsHostInterface(name) && !known[name] {
			s.strays = append(s.strays, "interface "+name)
		}
	}
	records, err := record.List(h.runDir)
	if err != nil {
		s.strays = append(s.strays, err.Error())
	}
	for _, r := range records {
		for _, a := range r.Addrs {
			s.records[r.Attachment().String()] = append(s.records[r.Attachment().String()], a.Addr())
		}
	}
	entries, err := os.ReadDir(record.Dir(h.runDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return s, err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			s.strays = append(s.strays, "file "+e.Name())
		}
	}
	return s, nil
}

// duplicates are addresses that two attachments have, by any one or two of the
// three accounts.
func (s state) duplicates() []string {
	holders := map[netip.Addr]map[string]bool{}
	for _, account := range []map[string][]netip.Addr{s.slots, s.links} {
		for who, addrs := range account {
			for _, a := range addrs {
				if holders[a] == nil {
					holders[a] = map[string]bool{}
				}
				holders[a][who] = true
			}
		}
	}
	var out []string
	for a, who := range holders {
		if len(who) > 1 {
			out = append(out, fmt.Sprintf("%v: %v", a, slices.Sorted(maps.Keys(who))))
		}
	}
	return out
}

// guarded fails the test unless exactly the ports of these attachments have
// elements in the sets of the guard.
func (h *host) guarded(attached map[string][]netip.Addr) {
	h.t.Helper()
	out, err := exec.Command("nft", "list", "table", "bridge", "weft").CombinedOutput()
	if err != nil {
		h.t.Fatalf("nft: %v\n%s", err, out)
	}
	got, want := map[string]bool{}, map[string]bool{}
	for word := range strings.SplitSeq(string(out), `"`) {
		if ipam.IsHostInterface(word) {
			got[word] = true
		}
	}
	for who := range attached {
		id, _, _ := strings.Cut(who, "/")
		want[attachment(id).HostInterface()] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("guarded ports (-want +got):\n%s", diff)
	}
}

// want fails the test unless exactly these attachments are there, whole.
func (h *host) want(attached map[string][]netip.Addr) {
	h.t.Helper()
	s, err := h.read()
	if err != nil {
		h.t.Fatal(err)
	}
	byAddr := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	for name, account := range map[string]map[string][]netip.Addr{"slots": s.slots, "interfaces": s.links} {
		if diff := cmp.Diff(attached, account, byAddr); diff != "" {
			h.t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if len(s.strays) > 0 {
		h.t.Errorf("left behind: %q", s.strays)
	}
	for who := range s.records {
		if attached[who] == nil {
			h.t.Errorf("left behind: record of %s", who)
		}
	}
}

// links lists the interfaces in a pod.
func links(t testing.TB, p *pod) []string {
	t.Helper()
	h, err := netlink.NewHandleAt(vnetns.NsHandle(p.ns.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	list, err := h.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range list {
		out = append(out, l.Attrs().Name)
	}
	return out
}

package faults

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
)

// subnets of the hosts under test, both families.
var subnets = []string{"10.1.2.0/24", "fd00:1:0:2::/64"}

// killed runs a call that is killed at its n-th system call.
func (h *host) killed(c call, n int) killPoint {
	h.t.Helper()
	stdout, err := memory("result", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	defer stdout.Close()
	cmd, err := h.command(c, stdout)
	if err != nil {
		h.t.Fatal(err)
	}
	defer cmd.Stdin.(*os.File).Close()
	return killAt(h.t, cmd, n)
}

// Ways on after a kill.
const (
	addAgain = iota
	delThenAdd
	sweepThenAdd
	waysOn
)

// TestKillAtEverySystemCall kills ADD, DEL and GC at each system call that they make.
// Whatever that was, no address is given twice, and each way on works: ADD
// straight away, DEL first, or neither, where the sweep mends what is left. The
// long form tries every way at every call, the short one another at each.
func TestKillAtEverySystemCall(t *testing.T) {
	static := map[string]any{"hairpin": true, "isolated": true, "runtimeConfig": map[string]any{"mac": "0a:58:0a:01:02:63", "ips": []string{"10.1.2.99/24"}}}
	kept := map[string]any{"cni.dev/valid-attachments": []map[string]string{{"containerID": "other", "ifname": "eth0"}}}
	for _, tt := range []struct {
		name     string
		attached bool // before the call
		refused  bool // by the kernel, when all but the pod's addresses is done
		command  string
		conf     map[string]any
	}{
		{"ADD", false, false, "ADD", nil},
		{"ADD of a certain address", false, false, "ADD", static},
		{"ADD again", true, false, "ADD", nil},
		{"ADD that is taken back", false, true, "ADD", nil},
		{"DEL", true, false, "DEL", nil},
		{"GC", true, false, "GC", kept},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, subnets...)
			other := h.pod("other") // is there all along, and stays as it is
			h.attached = map[string][]netip.Addr{"other/eth0": h.must(add(other)).addrs}
			calls, kinds := 0, map[uint64]bool{}
			first := rand.IntN(waysOn)
			for n := 1; ; n++ {
				var point killPoint
				for way := range times(waysOn, 1) {
					p := h.pod(fmt.Sprintf("c%d-%d", n, way))
					if tt.attached {
						h.must(add(p))
					}
					p.refuseIPv6(t, tt.refused)
					point = h.killed(call{command: tt.command, id: p.id, netns: p.netns(), conf: tt.conf}, n)
					p.refuseIPv6(t, false)
					h.goOn(p, (first+n+way)%waysOn)
					p.ns.Close()
					if t.Failed() {
						t.Fatalf("killed at the %d. system call (%s), way on %d", n, point, (first+n+way)%waysOn)
					}
				}
				if point.ended {
					break
				}
				calls, kinds[point.call] = n, true
			}
			if calls < 50 {
				t.Errorf("it made %d system calls: the test tests nothing", calls)
			}
			t.Logf("killed at %d system calls, %d different ones", calls, len(kinds))
		})
	}
}

// goOn checks the host after a kill, and that everything goes on.
func (h *host) goOn(p *pod, way int) {
	h.t.Helper()
	s, err := h.read()
	if err != nil {
		h.t.Fatal(err)
	}
	if twice := s.duplicates(); len(twice) > 0 {
		h.t.Errorf("given twice: %v", twice)
	}
	switch way {
	case delThenAdd:
		h.must(del(p))
		h.want(h.attached)
		h.guarded(h.attached)
		if got := links(h.t, p); len(got) != 1 {
			h.t.Errorf("after DEL the pod has %v", got)
		}
	case sweepThenAdd:
		p.ns.Close()
		h.sweep()
		h.want(h.attached)
		*p = *h.pod(p.id)
	}
	both := maps.Clone(h.attached)
	both[p.id+"/eth0"] = h.must(add(p)).addrs
	h.want(both)
	if got := links(h.t, p); len(got) != 2 {
		h.t.Errorf("after ADD the pod has %v", got)
	}
	h.must(del(p))
	h.want(h.attached)
	h.guarded(h.attached)
}

package lab

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab/topologies"
)

// vxlanOverhead is what an overlay over IPv4 adds, bytes: outer IP and UDP
// headers, VXLAN's and the inner Ethernet header (RFC 7348, 5).
const vxlanOverhead = 20 + 8 + 8 + 14

// podsProbe sends packets of a size from one host's first pod to another's.
func podsProbe(ctx context.Context, t *testing.T, from, to *Host, size int) Report {
	t.Helper()
	a, b := from.lab.Pod(from.Spec.Name+"-a"), to.lab.Pod(to.Spec.Name+"-a")
	r, err := Probe(ctx, []Endpoint{a.Endpoint(), b.Endpoint()},
		ProbeOptions{Rate: 50, From: a.Name, Packet: size, Drain: 500 * time.Millisecond}, 200*time.Millisecond)
	must(t, err)
	return r
}

// podMTU is that of a pod's interface.
func podMTU(t *testing.T, p *Pod) int {
	t.Helper()
	link, err := p.link(uplink)
	must(t, err)
	return link.Attrs().MTU
}

// wantTold fails the test unless packets of the pod's full size get through once
// the pod has been told how large they may be: cut up, as it is told, and whole
// up to the size that the path carries.
func wantTold(ctx context.Context, t *testing.T, from, to *Host, size int) {
	t.Helper()
	pod, far := from.lab.Pod(from.Spec.Name+"-a"), to.lab.Pod(to.Spec.Name+"-a")
	wantClean(t, fmt.Sprintf("%s -> %s, %d bytes", pod.Name, far.Name, size), podsProbe(ctx, t, from, to, size))
	own := podMTU(t, pod)
	if own <= size {
		return
	}
	// The probe's first packets tell, what is sent after that is cut up.
	podsProbe(ctx, t, from, to, own)
	wantClean(t, fmt.Sprintf("%s -> %s, %d bytes once told", pod.Name, far.Name, own), podsProbe(ctx, t, from, to, own))
	for _, f := range fabric.Families {
		out, err := pod.Run(ctx, "ip", "route", "get", far.Addr(f).String())
		must(t, err)
		if !strings.Contains(out, fmt.Sprintf(" mtu %d", size)) {
			t.Errorf("%s: %s was not told of %d bytes: %s", f, pod.Name, size, out)
		}
	}
}

// wantStream fails the test unless a megabyte passes from one host's pod to
// another's in each family.
func wantStream(ctx context.Context, t *testing.T, from, to *Host) {
	t.Helper()
	a, b := from.lab.Pod(from.Spec.Name+"-a"), to.lab.Pod(to.Spec.Name+"-a")
	for _, f := range fabric.Families {
		s, err := StartTCP(ctx, a.Namespace, b.Namespace, b.Addr(f), 32<<20)
		must(t, err)
		must(t, await(ctx, "a megabyte", func() error {
			if s.Received() < 1<<20 {
				return errNotYet
			}
			return nil
		}))
		if _, err := s.Stop(); err != nil {
			t.Errorf("%s -> %s %s: %v", a.Name, b.Name, f, err)
		}
	}
}

// TestMTUMatrix: between racks of 1500 and 9000 every pair gets what its path
// carries, in every way, and pods are told.
func TestMTUMatrix(t *testing.T) {
	for _, tt := range []struct {
		name     string
		changes  map[string]any
		way      fabric.PathKind
		overhead int
	}{
		{"overlay", nil, fabric.PathVXLAN, vxlanOverhead},
		{"routed", routing(), fabric.PathBGP, vxlanOverhead}, // which the overlay must be able to carry
		{"routed alone", map[string]any{"backend": "bgp", "overlay": "never"}, fabric.PathBGP, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			topo, err := ParseTopology(topologies.MTUs)
			must(t, err)
			ctx, l := upTopology(t, topo, tt.changes)
			must(t, l.WaitAllWays(ctx, BetweenRacks(tt.way)))
			for _, from := range l.Hosts {
				own := from.Spec.MTU - tt.overhead
				if got := podMTU(t, l.Pod(from.Spec.Name+"-a")); got != own {
					t.Errorf("pods of %s have an MTU of %d, want %d", from.Spec.Name, got, own)
				}
				if got := from.status(ctx, t).MTU; got != own {
					t.Errorf("%s says that its pods' MTU is %d, want %d", from.Spec.Name, got, own)
				}
				for _, to := range l.Hosts {
					if from == to {
						continue
					}
					size := min(own, to.Spec.MTU-tt.overhead)
					must(t, from.WaitWays(ctx, to, fmt.Sprintf("with %d bytes", size), carries(size)))
					wantTold(ctx, t, from, to, size)
					wantStream(ctx, t, from, to)
				}
			}
		})
	}
}

// carries is content with a way by which pods can send that many bytes.
func carries(size int) func(api.FamilyPath) error {
	return func(w api.FamilyPath) error {
		if w.MTU != size {
			return fmt.Errorf("%s carries %d bytes of %d", w.Path, w.MTU, w.Full)
		}
		return nil
	}
}

// shrunk is what an underlay of 1500 becomes.
const shrunk = 1400

// TestUnderlayShrinks: a link between racks shrinks under way, and says so, or
// does not, or swallows what is too big. Each way finds out, pods are told, the
// path is named, and one that grows again is used to the full.
func TestUnderlayShrinks(t *testing.T) {
	for _, way := range []struct {
		name    string
		changes map[string]any
		kind    fabric.PathKind
		size    int
	}{
		{"overlay", nil, fabric.PathVXLAN, shrunk - vxlanOverhead},
		{"routed", routing(), fabric.PathBGP, shrunk},
	} {
		for _, fault := range shrinks {
			t.Run(way.name+" "+fault.name, func(t *testing.T) {
				t.Parallel()
				ctx, l := upPaths(t, "h1 h4", way.changes)
				must(t, l.WaitAllWays(ctx, BetweenRacks(way.kind)))
				h1, h4 := l.Host("h1"), l.Host("h4")
				// The path must have answered once, or nothing is known of it.
				must(t, h1.WaitWays(ctx, h4, "answering", answers(way.kind)))
				must(t, h4.WaitWays(ctx, h1, "answering", answers(way.kind)))
				undo := fault.do(ctx, t, l)
				for _, ends := range [][2]*Host{{h1, h4}, {h4, h1}} {
					must(t, ends[0].WaitWays(ctx, ends[1], fmt.Sprintf("with %d bytes", way.size), carries(way.size)))
				}
				wantTold(ctx, t, h1, h4, way.size)
				wantStream(ctx, t, h4, h1)
				wantNamed(ctx, t, h1, "h4", way.size)
				undo()
				if way.changes != nil || fault.name != shrinks[0].name {
					return // it takes half a minute, and is the same for all
				}
				full := podMTU(t, l.Pod("h1-a"))
				must(t, h1.WaitWays(ctx, h4, "with all bytes", carries(full)))
				must(t, h4.WaitWays(ctx, h1, "with all bytes", carries(full)))
				forget(ctx, t, l)
				wantClean(t, "as it was", podsProbe(ctx, t, h1, h4, full))
			})
		}
	}
}

// wantNamed fails the test unless a host's commands and metrics name the path to
// a peer that carries no more than size bytes.
func wantNamed(ctx context.Context, t *testing.T, h *Host, peer string, size int) {
	t.Helper()
	for _, words := range [][]string{{"status"}, {"peers", peer}} {
		out, _ := h.Weft(ctx, words...) // the exit code may say that something is wrong
		if !strings.Contains(out, peer) || !strings.Contains(out, fmt.Sprint(size)) {
			t.Errorf("weft %s does not name the path that carries %d bytes:\n%s", words[0], size, out)
		}
	}
	out, err := h.metrics(ctx)
	must(t, err)
	for _, f := range fabric.Families {
		if want := fmt.Sprintf("weft_path_mtu_reduced{family=%q,", f); !strings.Contains(out, want) {
			t.Errorf("no metric begins with %s", want)
		}
	}
}

// metrics is what the host's agent would be scraped for.
func (h *Host) metrics(ctx context.Context) (string, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: h.Dial}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:9479/metrics", nil)
	if err != nil {
		return "", err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// answers is content with a way of a kind that has answered a probe.
func answers(kind fabric.PathKind) func(api.FamilyPath) error {
	return func(w api.FamilyPath) error {
		for _, o := range w.Offers {
			if o.Path == string(kind) && o.Probe == "answers" && o.MTU > 0 {
				return nil
			}
		}
		return fmt.Errorf("offers are %+v", w.Offers)
	}
}

// forget makes pods forget what they were told: for ten minutes they would
// remember (net.ipv4.route.mtu_expires).
func forget(ctx context.Context, t *testing.T, l *Lab) {
	t.Helper()
	for _, p := range l.Pods() {
		for _, family := range []string{"-4", "-6"} {
			_, err := p.Run(ctx, "ip", family, "route", "flush", "cache")
			must(t, err)
		}
	}
}

// shrinks are the ways in which an underlay shrinks.
var shrinks = []struct {
	name string
	do   func(ctx context.Context, t *testing.T, l *Lab) (undo func())
}{
	{"and says so", func(_ context.Context, t *testing.T, l *Lab) func() {
		tor := l.Switch("t2")
		must(t, tor.SetLinkMTU(shrunk))
		return func() { must(t, tor.SetLinkMTU(1500)) }
	}},
	{"and says nothing", func(ctx context.Context, t *testing.T, l *Lab) func() {
		var filters []*Filter
		for _, s := range l.Switches() {
			f, err := s.SwallowTooBig(ctx)
			must(t, err)
			filters = append(filters, f)
		}
		tor := l.Switch("t2")
		must(t, tor.SetLinkMTU(shrunk))
		return func() {
			must(t, tor.SetLinkMTU(1500))
			for _, f := range filters {
				must(t, f.Remove(ctx))
			}
		}
	}},
	{"and swallows what is too big", func(ctx context.Context, t *testing.T, l *Lab) func() {
		f, err := l.Switch("s1").SwallowBig(ctx, shrunk)
		must(t, err)
		return func() { must(t, f.Remove(ctx)) }
	}},
}

// TestStreamOutlivesAShrinkingUnderlay: connections under way go on when what
// they send no longer fits and nobody says so.
func TestStreamOutlivesAShrinkingUnderlay(t *testing.T) {
	t.Parallel()
	ctx, l := upPaths(t, "h1 h4", nil)
	must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathVXLAN)))
	h1, h4 := l.Host("h1"), l.Host("h4")
	must(t, h1.WaitWays(ctx, h4, "answering", answers(fabric.PathVXLAN)))
	a, b := l.Pod("h1-a"), l.Pod("h4-a")
	var streams []*Stream
	for _, f := range fabric.Families {
		s, err := StartTCP(ctx, a.Namespace, b.Namespace, b.Addr(f), 1<<20)
		must(t, err)
		streams = append(streams, s)
	}
	more := func(when string) {
		t.Helper()
		for i, s := range streams {
			from := s.Received()
			must(t, await(ctx, fmt.Sprintf("data of stream %d %s", i+1, when), func() error {
				if s.Received() < from+256<<10 {
					return errNotYet
				}
				return nil
			}))
		}
	}
	more("before")
	_, err := l.Switch("s1").SwallowBig(ctx, shrunk)
	must(t, err)
	more("after")
	for i, s := range streams {
		r, err := s.Stop()
		must(t, err)
		if r.Received != r.Sent || int(r.PathMTU) != shrunk-vxlanOverhead {
			t.Errorf("stream %d: %+v", i+1, r)
		}
	}
}

// TestMTUByHand: spec.vxlan.mtu is the pods' MTU everywhere it is written.
func TestMTUByHand(t *testing.T) {
	t.Parallel()
	ctx, l := upPaths(t, "h1 h4", map[string]any{"vxlan": map[string]any{"mtu": 1300}})
	h := l.Host("h1")
	if got := podMTU(t, l.Pod("h1-a")); got != 1300 {
		t.Errorf("pods have an MTU of %d", got)
	}
	spec := maps.Clone(l.Topo.Fabric)
	spec["vxlan"] = map[string]any{"mtu": 1280}
	must(t, l.Apply(ctx, spec))
	must(t, await(ctx, "the MTU of a new pod", func() error {
		p, err := l.AddPod(ctx, h, "late")
		if err != nil {
			return err
		}
		got := podMTU(t, p)
		if err := l.RemovePod(ctx, p); err != nil {
			return err
		}
		if got != 1280 {
			return fmt.Errorf("it is %d", got)
		}
		return nil
	}))
	for _, file := range []string{"node.json", "subnet.env"} {
		out, err := h.Run(ctx, "cat", h.RunDir()+"/"+file)
		must(t, err)
		if !strings.Contains(out, "1280") {
			t.Errorf("%s does not say 1280:\n%s", file, out)
		}
	}
	waitReachable(ctx, t, l)
}

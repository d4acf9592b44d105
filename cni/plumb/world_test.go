package plumb

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/kernel/rtnl"
)

func TestMain(m *testing.M) { os.Exit(testns.Main(m)) }

var (
	gateway4 = netip.MustParsePrefix("10.1.0.1/24")
	gateway6 = netip.MustParsePrefix("fd00:1::1/64")
)

// host is the test's namespace with the bridge in it.
type host struct {
	t      testing.TB
	bridge *Link
}

func newHost(t testing.TB) *host {
	t.Helper()
	testns.New(t)
	c, err := rtnl.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	br := Bridge{Name: "weft0", MAC: fabric.MAC{2, 0, 0, 0, 0, 1}, MTU: 1400, Gateways: []netip.Prefix{gateway4, gateway6}}
	l, err := br.Ensure(c)
	if err != nil {
		t.Fatal(err)
	}
	return &host{t: t, bridge: l}
}

// netns is a namespace without a process; it goes with its descriptor.
type netns struct{ *os.File }

func (h *host) netns() netns {
	h.t.Helper()
	made := make(chan *os.File)
	go func() {
		runtime.LockOSThread() // the thread ends with its goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- nil
			return
		}
		f, _ := os.Open("/proc/thread-self/ns/net")
		made <- f
	}()
	f := <-made
	if f == nil {
		h.t.Fatal("no network namespace")
	}
	h.t.Cleanup(func() { f.Close() })
	return netns{f}
}

// inside calls fn with its thread in the namespace.
func inside(ns *os.File, fn func() error) error { return rtnl.Within(int(ns.Fd()), fn) }

func message(data []byte) rtnl.Message { return rtnl.Message{Data: data} }

// try runs a program in a namespace.
func (n netns) try(name string, args ...string) (string, error) {
	cmd := exec.Command("nsenter", append([]string{"--net=/proc/self/fd/3", name}, args...)...)
	cmd.ExtraFiles = []*os.File{n.File}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (n netns) run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := n.try(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// pod describes a pod with the n-th addresses, of the families asked for.
func (h *host) pod(n byte, families string) *Pod {
	p := &Pod{Attachment: ipam.Attachment{Container: fmt.Sprintf("c%d", n), Interface: "eth0"}, MTU: 1400, Guarded: true}
	if strings.Contains(families, "4") {
		p.Addrs = append(p.Addrs, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, 0, n}), 24))
		p.Gateways = append(p.Gateways, gateway4.Addr())
	}
	if strings.Contains(families, "6") {
		p.Addrs = append(p.Addrs, netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 3: 1, 15: n}), 64))
		p.Gateways = append(p.Gateways, gateway6.Addr())
	}
	return p
}

// tryAttach makes p a pod in the namespace n.
func (h *host) tryAttach(p *Pod, n netns) (Ends, error) {
	h.t.Helper()
	p.Netns = int(n.Fd())
	s, err := DialBoth(p.Netns)
	if err != nil {
		h.t.Fatal(err)
	}
	defer s.Close()
	if err := s.Vacant(p.Attachment); err != nil {
		return Ends{}, err
	}
	return s.Attach(p, h.bridge)
}

// attach returns once the bridge has heard that the port has a carrier.
func (h *host) attach(p *Pod, n netns) Ends {
	h.t.Helper()
	e, err := h.tryAttach(p, n)
	if err != nil {
		h.t.Fatal(err)
	}
	eventually(h.t, "the port forwards", func() bool {
		p := h.port(p.Attachment)
		return p != nil && p.State == PortForwarding
	})
	return e
}

func (h *host) port(a ipam.Attachment) *Port {
	h.t.Helper()
	c, err := rtnl.Dial()
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	p, err := GetPort(c, a.HostInterface())
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// clean reports as faults whatever is left of an attachment.
func (h *host) clean(a ipam.Attachment) {
	h.t.Helper()
	if out, err := exec.Command("ip", "link", "show", a.HostInterface()).CombinedOutput(); err == nil {
		h.t.Errorf("left behind: %s", out)
	}
	guards, err := Guards()
	if err != nil {
		h.t.Error(err)
	}
	for _, g := range guards {
		if g.Port == a.HostInterface() {
			h.t.Errorf("left behind: guard %v", g)
		}
	}
	if out, err := exec.Command("nft", "list", "ruleset").CombinedOutput(); err != nil || strings.Contains(string(out), `"`+a.HostInterface()+`"`) {
		h.t.Errorf("left behind, %v: %s", err, out)
	}
}

// eventually polls until ok, which must come true whatever the machine is doing.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := unixNow() + 20e9
	for !ok() {
		if unixNow() > deadline {
			t.Fatalf("not within 20 s: %s", what)
		}
		runtime.Gosched()
	}
}

func unixNow() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

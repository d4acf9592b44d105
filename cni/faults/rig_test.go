package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	current "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/ipam"
)

// plugin is the path of the binary that TestMain built.
var plugin string

func TestMain(m *testing.M) { os.Exit(build(m)) }

// build compiles the real plugin and runs the tests with it. The file has no
// name while they run, so that tests that are killed leave nothing behind.
func build(m *testing.M) int {
	f, err := compile()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer f.Close()
	plugin = fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	return testns.Main(m)
}

func compile() (*os.File, error) {
	dir, err := os.MkdirTemp("", "weft-cni-faults-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "weft")
	cmd := exec.Command("go", "build", "-ldflags", "-E weft_cni_entry", "-o", path, "github.com/weft-net/weft/cmd/weft-cni") // as make build does
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return os.Open(path)
}

// full is how the environment asks for the long form of every run.
const full = "WEFT_FAULTS"

// times is how often something is done: as often as is claimed, or a handful of
// times.
func times(claimed, handful int) int {
	if os.Getenv(full) == "full" {
		return claimed
	}
	return handful
}

// host is a host (the namespace of the test) with a node file and no agent.
type host struct {
	t      testing.TB
	netns  int // of the host
	runDir string
	node   nodefile.File
	// attached are the addresses of pods that stay, by "container/interface".
	attached map[string][]netip.Addr
}

func newHost(t testing.TB, subnets ...string) *host {
	t.Helper()
	testns.New(t)
	ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(ns) })
	h := &host{t: t, netns: ns, runDir: t.TempDir()}
	h.node = nodefile.File{Version: nodefile.Version, Node: "a", NodeID: "id-a", Bridge: "weft0", BridgeMAC: fabric.MAC{2, 0, 0, 0, 0, 7}, MTU: 1400}
	for _, s := range subnets {
		h.node.Subnets = append(h.node.Subnets, netip.MustParsePrefix(s))
	}
	if err := h.node.Write(h.runDir); err != nil {
		t.Fatal(err)
	}
	return h
}

// pod is a container's network namespace. It has no process and no name: it is
// gone when the file is closed, at the latest when the test ends in whatever way.
type pod struct {
	id string
	ns *os.File
}

func (p *pod) netns() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), p.ns.Fd()) }

// newPod makes a container. Close its file.
func newPod(id string) (*pod, error) {
	type made struct {
		ns  *os.File
		err error
	}
	result := make(chan made)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		err := unix.Unshare(unix.CLONE_NEWNET)
		var ns *os.File
		if err == nil {
			ns, err = os.Open("/proc/thread-self/ns/net")
		}
		result <- made{ns, err}
	}()
	m := <-result
	return &pod{id: id, ns: m.ns}, m.err
}

// refuseIPv6 makes new interfaces in the pod refuse or take IPv6 addresses.
func (p *pod) refuseIPv6(t testing.TB, refuse bool) {
	t.Helper()
	value := "0"
	if refuse {
		value = "1"
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		err := unix.Setns(int(p.ns.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte(value), 0)
		}
		result <- err
	}()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

func (h *host) pod(id string) *pod {
	h.t.Helper()
	p, err := newPod(id)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { p.ns.Close() })
	return p
}

// call is one run of the plugin.
type call struct {
	command, id, netns string
	conf               map[string]any // what is added to the network configuration
	args               string         // CNI_ARGS
}

// start prepares the plugin's process; what it prints goes to the file.
func (h *host) command(c call, stdout *os.File) (*exec.Cmd, error) {
	conf := map[string]any{"cniVersion": "1.1.0", "name": "weft", "type": "weft", "runDir": h.runDir}
	for k, v := range c.conf {
		conf[k] = v
	}
	data, err := json.Marshal(conf)
	if err != nil {
		return nil, err
	}
	stdin, err := memory("conf", data)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(plugin)
	cmd.Env = []string{
		"CNI_COMMAND=" + c.command, "CNI_CONTAINERID=" + c.id, "CNI_NETNS=" + c.netns, "CNI_IFNAME=eth0",
		"CNI_PATH=/nowhere", "CNI_ARGS=" + c.args,
	}
	cmd.Stdin, cmd.Stdout = stdin, stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, nil
}

// memory is a file in memory that holds data, to be read from its beginning.
func memory(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt(data, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// answer is what a call came to.
type answer struct {
	killed bool
	code   uint // of the error document; 0: success
	msg    string
	addrs  []netip.Addr // of a successful ADD
}

func (a answer) String() string {
	switch {
	case a.killed:
		return "killed"
	case a.code != 0:
		return fmt.Sprintf("code %d: %s", a.code, a.msg)
	}
	return fmt.Sprintf("done %v", a.addrs)
}

// run runs the plugin. kill, if not nil, gets the process once it runs.
func (h *host) run(c call, kill func(*os.Process)) (answer, error) {
	stdout, err := memory("result", nil)
	if err != nil {
		return answer{}, err
	}
	defer stdout.Close()
	cmd, err := h.command(c, stdout)
	if err != nil {
		return answer{}, err
	}
	defer cmd.Stdin.(*os.File).Close()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return answer{}, err
	}
	if kill != nil {
		kill(cmd.Process)
	}
	_ = cmd.Wait() // the state says more
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return answer{killed: true}, nil
	}
	a, err := parse(c, stdout, cmd.ProcessState.ExitCode())
	if err != nil {
		return a, fmt.Errorf("%s %s: %w; stderr %q", c.command, c.id, err, &stderr)
	}
	return a, nil
}

// parse reads what the plugin printed.
func parse(c call, stdout *os.File, status int) (answer, error) {
	info, err := stdout.Stat()
	if err != nil {
		return answer{}, err
	}
	out := make([]byte, info.Size())
	if _, err := stdout.ReadAt(out, 0); err != nil && len(out) > 0 {
		return answer{}, err
	}
	if status != 0 {
		var doc struct {
			CNIVersion, Msg string
			Code            uint
		}
		if err := json.Unmarshal(out, &doc); err != nil || doc.Code == 0 || doc.Msg == "" || doc.CNIVersion == "" {
			return answer{}, fmt.Errorf("status %d with a poor error document %q: %w", status, out, err)
		}
		return answer{code: doc.Code, msg: doc.Msg}, nil
	}
	if c.command != "ADD" {
		if len(out) != 0 {
			return answer{}, fmt.Errorf("unexpected output %q", out)
		}
		return answer{}, nil
	}
	var r current.Result
	if err := json.Unmarshal(out, &r); err != nil {
		return answer{}, fmt.Errorf("result %q: %w", out, err)
	}
	var a answer
	for _, ip := range r.IPs {
		addr, ok := netip.AddrFromSlice(ip.Address.IP)
		if !ok {
			return answer{}, fmt.Errorf("result %q: no address", out)
		}
		a.addrs = append(a.addrs, addr.Unmap())
	}
	return a, nil
}

// must runs the plugin, which must succeed.
func (h *host) must(c call) answer {
	h.t.Helper()
	a, err := h.run(c, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	if a.code != 0 || a.killed {
		h.t.Fatalf("%s %s: %s", c.command, c.id, a)
	}
	return a
}

func add(p *pod) call { return call{command: "ADD", id: p.id, netns: p.netns()} }
func del(p *pod) call { return call{command: "DEL", id: p.id, netns: p.netns()} }

func attachment(id string) ipam.Attachment { return ipam.Attachment{Container: id, Interface: "eth0"} }

package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"

	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/ipam"
)

// holdEnv makes the test binary a process that does nothing but hold its
// network namespace until its stdin ends.
const holdEnv = "WEFT_CNI_HOLD"

// plugin is the path of the binary that TestMain built.
var plugin string

func TestMain(m *testing.M) {
	if os.Getenv(holdEnv) != "" {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(build(m))
}

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
	dir, err := os.MkdirTemp("", "weft-cni-")
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

// world is a host (the test's namespace) with a node file and no agent.
type world struct {
	t      testing.TB
	runDir string
	node   nodefile.File
}

func newWorld(t *testing.T, subnets ...string) *world {
	t.Helper()
	testns.New(t)
	return newHost(t, subnets...)
}

func newHost(t testing.TB, subnets ...string) *world {
	return newHostIn(t, t.TempDir(), subnets...)
}

func newHostIn(t testing.TB, runDir string, subnets ...string) *world {
	w := &world{t: t, runDir: runDir}
	w.node = nodefile.File{Version: nodefile.Version, Node: "a", NodeID: "id-a", Bridge: "weft0", BridgeMAC: fabric.MAC{2, 0, 0, 0, 0, 7}, MTU: 1400}
	for _, s := range subnets {
		w.node.Subnets = append(w.node.Subnets, netip.MustParsePrefix(s))
	}
	w.write()
	// As the agent has it: CHECK and STATUS look at this.
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if err := os.WriteFile("/proc/sys/"+name, []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) write() {
	w.t.Helper()
	if err := w.node.Write(w.runDir); err != nil {
		w.t.Fatal(err)
	}
}

// pod is a container: a process in a network namespace of its own.
type pod struct {
	id, netns string
	pid       int
}

func (w *world) pod(id string) *pod {
	w.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), holdEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { stdin.Close(); _ = cmd.Wait() })
	return &pod{id: id, pid: cmd.Process.Pid, netns: fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)}
}

// in runs a program in the pod's namespace.
func (w *world) in(p *pod, name string, args ...string) string {
	w.t.Helper()
	args = append([]string{"-t", fmt.Sprint(p.pid), "-n", name}, args...)
	out, err := exec.Command("nsenter", args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("in %s: %v: %v\n%s", p.id, args, err, out)
	}
	return string(out)
}

func (w *world) host(name string, args ...string) string {
	w.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// call is one run of the plugin.
type call struct {
	command, id, netns, ifname string
	version                    string // default 1.1.0
	prev                       []byte
	extra                      map[string]any
	env                        []string
	stdout                     *os.File // default: collected
}

// document is what an error says.
type document struct {
	CNIVersion string `json:"cniVersion"`
	Code       uint   `json:"code"`
	Msg        string `json:"msg"`
}

func (w *world) command(c call) *exec.Cmd {
	w.t.Helper()
	conf := map[string]any{"cniVersion": "1.1.0", "name": "weft", "type": "weft", "runDir": w.runDir}
	if c.version != "" {
		conf["cniVersion"] = c.version
	}
	if c.prev != nil {
		conf["prevResult"] = json.RawMessage(c.prev)
	}
	for k, v := range c.extra {
		conf[k] = v
	}
	data, err := json.Marshal(conf)
	if err != nil {
		w.t.Fatal(err)
	}
	if c.ifname == "" {
		c.ifname = "eth0"
	}
	cmd := exec.Command(plugin)
	cmd.Env = append([]string{"CNI_COMMAND=" + c.command, "CNI_CONTAINERID=" + c.id, "CNI_NETNS=" + c.netns, "CNI_IFNAME=" + c.ifname, "CNI_PATH=/nowhere"}, c.env...)
	cmd.Stdin = bytes.NewReader(data)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run runs the plugin; the error is the document that it printed.
func (w *world) run(c call) ([]byte, *document) {
	w.t.Helper()
	cmd := w.command(c)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if c.stdout != nil {
		cmd.Stdout = c.stdout
	}
	err := cmd.Run()
	if err == nil {
		return out.Bytes(), nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	d := &document{}
	if c.stdout == nil {
		if err := json.Unmarshal(out.Bytes(), d); err != nil {
			w.t.Fatalf("%s: not one error document: %v\n%s\n%s", c.command, err, &out, &stderr)
		}
		if d.Msg == "" || d.Code == 0 || strings.ContainsAny(d.Msg, "\n") || d.CNIVersion == "" {
			w.t.Errorf("%s: poor error document %s", c.command, &out)
		}
	}
	return out.Bytes(), d
}

// add runs ADD, which must succeed, and returns the result and its bytes.
func (w *world) add(p *pod) (*current.Result, []byte) {
	w.t.Helper()
	return w.addAs(call{command: "ADD", id: p.id, netns: p.netns})
}

func (w *world) addAs(c call) (*current.Result, []byte) {
	w.t.Helper()
	out, doc := w.run(c)
	if doc != nil {
		w.t.Fatalf("%s %s: code %d: %s", c.command, c.id, doc.Code, doc.Msg)
	}
	v := c.version
	if v == "" {
		v = "1.1.0"
	}
	res, err := create.Create(v, out)
	if err != nil {
		w.t.Fatalf("result: %v\n%s", err, out)
	}
	r, err := current.GetResult(res)
	if err != nil {
		w.t.Fatalf("result: %v\n%s", err, out)
	}
	return r, out
}

func (w *world) del(p *pod) {
	w.t.Helper()
	if _, doc := w.run(call{command: "DEL", id: p.id, netns: p.netns}); doc != nil {
		w.t.Fatalf("DEL %s: code %d: %s", p.id, doc.Code, doc.Msg)
	}
}

// fails runs the plugin, which must fail with the code and the words.
func (w *world) fails(c call, code uint, words string) {
	w.t.Helper()
	out, doc := w.run(c)
	if doc == nil {
		w.t.Errorf("%s succeeded: %s", c.command, out)
	} else if c.stdout == nil && (doc.Code != code || !strings.Contains(doc.Msg, words)) {
		w.t.Errorf("%s: code %d, %q; want %d, %q", c.command, doc.Code, doc.Msg, code, words)
	}
}

// inUse lists the addresses that the slot files hold, by attachment.
func (w *world) inUse() map[string][]string {
	w.t.Helper()
	s, err := ipam.NewSlots(w.runDir, ipam.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	list, err := s.List(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string][]string{}
	for _, slot := range list {
		if slot.InUse {
			out[slot.Attachment.String()] = append(out[slot.Attachment.String()], slot.Addr.String())
		}
	}
	return out
}

// ports lists the host interfaces of pods.
func (w *world) ports() []string {
	w.t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, l := range links {
		if ipam.IsHostInterface(l.Attrs().Name) {
			out = append(out, l.Attrs().Name)
		}
	}
	return out
}

// links lists the interfaces in the pod.
func (w *world) links(p *pod) []string {
	w.t.Helper()
	var out []string
	for _, l := range w.netlink(p) {
		out = append(out, l.Attrs().Name)
	}
	return out
}

func (w *world) netlink(p *pod) []netlink.Link {
	w.t.Helper()
	ns, err := vnetns.GetFromPath(p.netns)
	if err != nil {
		w.t.Fatal(err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		w.t.Fatal(err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		w.t.Fatal(err)
	}
	return links
}

// clean fails unless the pod is not attached at all.
func (w *world) clean(p *pod) {
	w.t.Helper()
	if got := w.links(p); len(got) != 1 {
		w.t.Errorf("the pod has %v", got)
	}
	if got := w.ports(); len(got) != 0 {
		w.t.Errorf("the host has %v", got)
	}
	if got := w.inUse(); len(got) != 0 {
		w.t.Errorf("in use: %v", got)
	}
	if got := w.records(); len(got) != 0 {
		w.t.Errorf("records: %v", got)
	}
	if got := w.guards(); len(got) != 0 {
		w.t.Errorf("guards: %v", got)
	}
}

// guards lists the ports that have a guard.
func (w *world) guards() []string {
	w.t.Helper()
	list, err := plumb.Guards()
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, g := range list {
		out = append(out, g.Port)
	}
	return out
}

// records lists the attachments that have a record, in the order of files.
func (w *world) records() []string {
	w.t.Helper()
	list, err := record.List(w.runDir)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, r := range list {
		out = append(out, r.Attachment().String())
	}
	return out
}

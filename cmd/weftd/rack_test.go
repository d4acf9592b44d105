package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/internal/testns"
)

// rack is a host in the test's own namespace, whose one uplink leads to a
// top-of-rack switch in another: BIRD, which puts what it learns into its
// namespace's kernel. etcd runs beside the host.
type rack struct {
	t      *testing.T
	dir    string
	etcd   string // URL
	server *exec.Cmd
	pid    string // of the process that holds the switch's namespace
	weftd  *exec.Cmd
	log    *buffer
}

// buffer takes a process's output while the test reads it.
type buffer struct {
	mu   sync.Mutex
	data bytes.Buffer // guarded by mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

const theFabric = `
apiVersion: weft/v1
kind: Fabric
metadata: {name: default}
spec:
  network: {ipv4: 10.244.0.0/16}
  backend: bgp
  bgp: {asn: perNode}
  masquerade: {enabled: false}
`

const theTors = `
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: tors}
spec: {nodes: {}, peer: {gateways: all}, asn: external}
`

// birdConfig is the switch's. The second session is for hosts with a second link,
// see secondLink. It tells of one other node's subnet, and of the
// default route, which nobody asked for.
const birdConfig = `
log "%[1]s/bird.log" all;
router id 198.18.1.1;
protocol device { scan time 1; }
protocol kernel { graceful restart on; ipv4 { import none; export filter { if source = RTS_BGP then accept; reject; }; }; }
protocol static others { ipv4; route 10.244.200.0/24 unreachable; route 0.0.0.0/0 unreachable; }
protocol bgp host {
  local 198.18.1.1 as 65001;
  neighbor 198.18.1.10 as 4200000001;
  hold time 9; connect retry time 1; connect delay time 1; error wait time 1, 2;
  graceful restart on; %[2]s
  ipv4 { import all; export where source = RTS_STATIC; next hop self; };
}
protocol bgp second {
  local 198.18.2.1 as 65001;
  neighbor 198.18.2.10 as 4200000001;
  hold time 9; connect retry time 1; connect delay time 1; error wait time 1, 2;
  graceful restart on;
  ipv4 { import all; export where source = RTS_STATIC; next hop self; };
}
`

// newRack builds it all and applies the objects; weftd is not started.
func newRack(t *testing.T, bird string, objects ...string) *rack {
	t.Helper()
	testns.New(t)
	r := &rack{t: t, dir: t.TempDir()}
	holder := r.background("unshare", "--net", "sleep", "infinity")
	r.pid = fmt.Sprint(holder.Process.Pid)
	own, err := os.Readlink("/proc/self/task/" + fmt.Sprint(syscall.Gettid()) + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	poll(t, func() error { // until unshare has done it
		if theirs, err := os.Readlink("/proc/" + r.pid + "/ns/net"); err != nil || theirs == own {
			return fmt.Errorf("namespace of the switch: %s, %w", theirs, err)
		}
		return nil
	})
	for _, line := range []string{
		"link add eth0 type veth peer name far0 netns " + r.pid, "link set eth0 up",
		"addr add 198.18.1.10/24 dev eth0", "route add default via 198.18.1.1",
	} {
		testns.Run(t, "ip", strings.Fields(line)...)
	}
	for _, line := range []string{"link set lo up", "addr add 10.244.200.1/32 dev lo", "link set far0 up", "addr add 198.18.1.1/24 dev far0"} {
		r.tor(append([]string{"ip"}, strings.Fields(line)...)...)
	}
	r.startEtcd()
	for _, o := range append([]string{theFabric}, objects...) {
		r.apply(o)
	}
	r.configureBird(bird)
	r.background("nsenter", "--net=/proc/"+r.pid+"/ns/net", "bird", "-f", "-c", r.dir+"/bird.conf", "-s", r.dir+"/bird.ctl", "-P", r.dir+"/bird.pid")
	return r
}

// secondLink gives the host another link to the switch, and a default route over
// both.
func (r *rack) secondLink() {
	r.t.Helper()
	for _, line := range []string{
		"link add eth1 type veth peer name far1 netns " + r.pid, "link set eth1 up", "addr add 198.18.2.10/24 dev eth1",
	} {
		testns.Run(r.t, "ip", strings.Fields(line)...)
	}
	for _, line := range []string{"link set far1 up", "addr add 198.18.2.1/24 dev far1"} {
		r.tor(append([]string{"ip"}, strings.Fields(line)...)...)
	}
	r.defaultRoute("198.18.1.1", "198.18.2.1")
}

// defaultRoute leads the host's default route over these gateways.
func (r *rack) defaultRoute(gateways ...string) {
	r.t.Helper()
	args := []string{"route", "replace", "default"}
	for _, g := range gateways {
		args = append(args, "nexthop", "via", g)
	}
	testns.Run(r.t, "ip", args...)
}

// background starts a program that dies with the test.
func (r *rack) background(name string, args ...string) *exec.Cmd {
	r.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log := &buffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if r.t.Failed() {
			r.t.Logf("%s:\n%s", name, log)
		}
	})
	return cmd
}

// tor runs a program in the switch's namespace.
func (r *rack) tor(args ...string) string {
	r.t.Helper()
	return testns.Run(r.t, "nsenter", append([]string{"--net=/proc/" + r.pid + "/ns/net", "--"}, args...)...)
}

func (r *rack) birdc(args ...string) string {
	r.t.Helper()
	return testns.Run(r.t, "birdc", append([]string{"-s", r.dir + "/bird.ctl"}, args...)...)
}

func (r *rack) configureBird(session string) {
	r.t.Helper()
	r.write("bird.conf", fmt.Sprintf(birdConfig, r.dir, session))
}

func (r *rack) write(name, text string) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// startEtcd runs Debian's server in the host's namespace.
func (r *rack) startEtcd() {
	r.t.Helper()
	if r.etcd == "" {
		r.etcd = "http://127.0.0.1:2379"
	}
	r.server = r.background("etcd", "--data-dir", r.dir+"/etcd", "--listen-client-urls", r.etcd, "--advertise-client-urls", r.etcd,
		"--listen-peer-urls", "http://127.0.0.1:2380", "--initial-advertise-peer-urls", "http://127.0.0.1:2380",
		"--initial-cluster", "default=http://127.0.0.1:2380", "--unsafe-no-fsync", "--log-level", "error")
	poll(r.t, func() error { return exec.Command("etcdctl", "--endpoints", r.etcd, "get", "x").Run() })
}

func (r *rack) stopEtcd() {
	r.t.Helper()
	_ = r.server.Process.Kill()
	_ = r.server.Wait()
}

func (r *rack) etcdctl(args ...string) string {
	r.t.Helper()
	return testns.Run(r.t, "etcdctl", append([]string{"--endpoints", r.etcd}, args...)...)
}

// apply writes objects as `weft apply` does.
func (r *rack) apply(yaml string) {
	r.t.Helper()
	objects, err := config.ParseObjects("test.yaml", []byte(yaml))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, o := range objects {
		kind, err := config.KindFor(o.Kind)
		if err != nil {
			r.t.Fatal(err)
		}
		data, err := o.Encode()
		if err != nil {
			r.t.Fatal(err)
		}
		r.etcdctl("put", "/weft/v1/"+kind.Key(o.Metadata.Name), string(data))
	}
}

// start runs weftd, with the node's own file of BGP objects in the rack's
// directory.
func (r *rack) start() {
	r.t.Helper()
	r.weftd = weftd(r.t, nil, "--config", "/dev/null", "--node-name", "a", "--node-id", "a", "--etcd-endpoints", r.etcd,
		"--run-dir", filepath.Join(r.dir, "run"), "--state-dir", filepath.Join(r.dir, "state"), "--bgp-file", filepath.Join(r.dir, "bgp.yaml"), "--labels", "rack=r1")
	r.log = &buffer{}
	r.weftd.Stdout, r.weftd.Stderr = r.log, r.log
	if err := r.weftd.Start(); err != nil {
		r.t.Fatal(err)
	}
	cmd, log := r.weftd, r.log
	r.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if r.t.Failed() {
			r.t.Logf("weftd:\n%s", log)
		}
	})
}

// stop ends weftd by a signal.
func (r *rack) stop(sig syscall.Signal) {
	r.t.Helper()
	if err := r.weftd.Process.Signal(sig); err != nil {
		r.t.Fatal(err)
	}
	err := r.weftd.Wait()
	var exit *exec.ExitError
	if err != nil && (sig != syscall.SIGKILL || !errors.As(err, &exit)) {
		r.t.Errorf("stop: %v", err)
	}
}

func (r *rack) client() *api.Client { return api.Dial(filepath.Join(r.dir, "run")) }

func (r *rack) bgp() (*api.BGP, error) { return r.client().BGP(context.Background()) }

// ready waits until the agent is, and returns how it is then.
func (r *rack) ready() *api.Status {
	r.t.Helper()
	var s *api.Status
	poll(r.t, func() (err error) {
		s, err = r.client().Status(context.Background())
		if err == nil && !s.Ready {
			err = fmt.Errorf("not ready: %s", strings.Join(s.NotReady, "; "))
		}
		return err
	})
	return s
}

// session waits until the session named is so.
func (r *rack) session(what string, so func(api.BGPSession) bool) api.BGPSession {
	r.t.Helper()
	var found api.BGPSession
	poll(r.t, func() error {
		b, err := r.bgp()
		if err != nil {
			return err
		}
		for _, s := range b.Sessions {
			if found = s; so(s) {
				return nil
			}
		}
		return fmt.Errorf("%s: sessions %+v, pending %v, problems %v", what, b.Sessions, b.Pending, b.Problems)
	})
	return found
}

// sessionWith is session for one far end.
func (r *rack) sessionWith(address string, so func(api.BGPSession) bool) api.BGPSession {
	r.t.Helper()
	return r.session(address, func(s api.BGPSession) bool { return s.Address.String() == address && so(s) })
}

func established(s api.BGPSession) bool { return s.State == "established" }

// torHas waits until the switch's kernel has a route, or has it not.
func (r *rack) torHas(prefix string, want bool) {
	r.t.Helper()
	poll(r.t, func() error {
		if have := strings.Contains(r.tor("ip", "route", "show", prefix), prefix); have != want {
			return fmt.Errorf("the switch has %s: %t\n%s", prefix, have, r.birdc("show", "route", "all"))
		}
		return nil
	})
}

// lease is this node's subnet.
func (r *rack) lease() string {
	r.t.Helper()
	return r.ready().Lease.Subnets[0].String()
}

// listen opens a TCP listener in the host's namespace and closes what connects.
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	return l
}

package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weft-net/weft/fabric"
)

// realEtcd is where Debian's etcd-server puts it.
const realEtcd = "/usr/bin/etcd"

// Etcd is the lab's etcd: one to three members, each in a namespace of its
// own off the spine, so that every rack reaches it by routing.
type Etcd struct {
	Spec    EtcdSpec
	lab     *Lab
	members []*member
	tls     *tls.Config // nil: plain
}

// member is one server.
type member struct {
	name string
	ns   *Namespace
	k    int // its link in the plan
	proc *Process
}

func (l *Lab) newEtcd() *Etcd {
	e := &Etcd{Spec: l.Topo.Etcd, lab: l}
	if e.Spec.Server == "auto" {
		e.Spec.Server = "embedded"
		if _, err := os.Stat(realEtcd); err == nil {
			e.Spec.Server = "real"
		}
	}
	for i := range e.Spec.Members {
		name := fmt.Sprintf("etcd%d", i+1)
		e.members = append(e.members, &member{name: name, k: linkEtcd + i, proc: l.process(name)})
	}
	l.Etcd = e
	return e
}

func (l *Lab) buildEtcd() (err error) {
	e := l.newEtcd()
	for _, m := range e.members {
		if m.ns, err = l.leaf(m.name, m.k); err != nil {
			return err
		}
	}
	if !e.Spec.TLS {
		return nil
	}
	var hosts []netip.Addr
	for _, m := range e.members {
		for _, f := range fabric.Families {
			hosts = append(hosts, leafAddr(m.k, f))
		}
	}
	if err := writeCertificates(e.tlsDir(), hosts); err != nil {
		return fmt.Errorf("etcd certificates: %w", err)
	}
	e.tls, err = clientTLS(e.tlsDir())
	return err
}

// openEtcd finds what another process built.
func (l *Lab) openEtcd(find func(string) *Namespace) {
	e := l.newEtcd()
	for _, m := range e.members {
		m.ns = find(m.name)
	}
	if e.Spec.TLS {
		e.tls, _ = clientTLS(e.tlsDir()) // missing: the health check will say so
	}
}

func (e *Etcd) dir() string    { return filepath.Join(e.lab.Dir(), "etcd") }
func (e *Etcd) tlsDir() string { return filepath.Join(e.dir(), "tls") }

func (e *Etcd) scheme() string {
	if e.Spec.TLS {
		return "https"
	}
	return "http"
}

// Endpoints are the client URLs for a host whose underlay has family f.
func (e *Etcd) Endpoints(f fabric.Family) []string {
	var out []string
	for _, m := range e.members {
		out = append(out, e.scheme()+"://"+netip.AddrPortFrom(leafAddr(m.k, f), 2379).String())
	}
	return out
}

// Start starts all members and waits until they serve.
func (e *Etcd) Start(ctx context.Context) error {
	for _, m := range e.members {
		if err := m.proc.Start(m.ns, e.command(m)); err != nil {
			return err
		}
	}
	return e.WaitReady(ctx)
}

// WaitReady waits until every member says that it is healthy.
func (e *Etcd) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, m := range e.members {
		err := await(ctx, m.name, func() error {
			if !m.proc.Alive() {
				return errNotRunning
			}
			return e.healthy(ctx, m)
		})
		if err != nil {
			return m.proc.explain(err)
		}
	}
	return nil
}

// Stop ends all members in order; their data stay.
func (e *Etcd) Stop(ctx context.Context) error {
	return e.each(func(m *member) error { return m.proc.Stop(ctx) })
}

// Kill kills all members without warning.
func (e *Etcd) Kill() error { return e.each(func(m *member) error { return m.proc.Kill() }) }

// Freeze stops all members from running; connections stay open and silent.
func (e *Etcd) Freeze() error {
	return e.each(func(m *member) error { return m.proc.Signal(syscall.SIGSTOP) })
}

// Thaw undoes Freeze.
func (e *Etcd) Thaw() error {
	return e.each(func(m *member) error { return m.proc.Signal(syscall.SIGCONT) })
}

// Wipe stops etcd and throws its data away; Start then makes a new, empty
// cluster.
func (e *Etcd) Wipe(ctx context.Context) error {
	return e.each(func(m *member) error {
		return errors.Join(m.proc.Stop(ctx), os.RemoveAll(e.dataDir(m)))
	})
}

func (e *Etcd) each(do func(*member) error) error {
	var errs []error
	for _, m := range e.members {
		errs = append(errs, do(m))
	}
	return errors.Join(errs...)
}

func (e *Etcd) dataDir(m *member) string { return filepath.Join(e.dir(), m.name+".data") }

// command is the server's command line. The embedded server understands the
// same flags.
func (e *Etcd) command(m *member) *exec.Cmd {
	var cluster, peers, clients, advertised []string
	for _, f := range fabric.Families {
		addr := leafAddr(m.k, f)
		clients = append(clients, e.scheme()+"://"+netip.AddrPortFrom(addr, 2379).String())
		advertised = append(advertised, clients[len(clients)-1])
	}
	clients = append(clients, e.scheme()+"://127.0.0.1:2379")
	for _, o := range e.members {
		url := "http://" + netip.AddrPortFrom(leafAddr(o.k, fabric.IPv4), 2380).String()
		cluster = append(cluster, o.name+"="+url)
		if o == m {
			peers = append(peers, url)
		}
	}
	args := []string{
		"--name=" + m.name, "--data-dir=" + e.dataDir(m),
		"--listen-client-urls=" + strings.Join(clients, ","), "--advertise-client-urls=" + strings.Join(advertised, ","),
		"--listen-peer-urls=" + strings.Join(peers, ","), "--initial-advertise-peer-urls=" + strings.Join(peers, ","),
		"--initial-cluster=" + strings.Join(cluster, ","), "--initial-cluster-state=new",
	}
	if e.Spec.TLS {
		d := e.tlsDir()
		args = append(args, "--cert-file="+filepath.Join(d, "server.crt"), "--key-file="+filepath.Join(d, "server.key"),
			"--trusted-ca-file="+filepath.Join(d, "ca.crt"), "--client-cert-auth=true")
	}
	cmd := exec.Command(realEtcd, args...)
	if e.Spec.Server == "embedded" {
		cmd = exec.Command(e.lab.bin.Lab, append([]string{EmbeddedCommand}, args...)...)
	}
	// Debian's build insists on this word on some architectures.
	cmd.Env = append(os.Environ(), "ETCD_UNSUPPORTED_ARCH=arm64")
	return cmd
}

// EmbeddedCommand is the hidden subcommand of weft-lab that is an etcd server.
const EmbeddedCommand = "internal-etcd"

// healthy asks a member's health endpoint from inside its namespace.
func (e *Etcd) healthy(ctx context.Context, m *member) error {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		TLSClientConfig: e.tls, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return m.ns.Dial(ctx, network, addr)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.scheme()+"://127.0.0.1:2379/health", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"true"`) {
		return fmt.Errorf("health: %s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return nil
}

// String is the spec in a few words.
func (e EtcdSpec) String() string {
	s := fmt.Sprintf("%s-%d", e.Server, max(e.Members, 1))
	if e.TLS {
		s += "-tls"
	}
	return s
}

package lab

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-net/weft/fabric"
)

// etcdctl runs etcd's own client on a host.
func etcdctl(ctx context.Context, h *Host, args ...string) (string, error) {
	e := h.lab.Etcd
	flags := []string{"ETCDCTL_API=3", "etcdctl", "--command-timeout=2s", "--endpoints=" + strings.Join(e.Endpoints(h.families()[0]), ",")}
	if e.Spec.TLS {
		d := e.tlsDir()
		flags = append(flags, "--cacert="+filepath.Join(d, "ca.crt"), "--cert="+filepath.Join(d, "client.crt"), "--key="+filepath.Join(d, "client.key"))
	}
	return h.Run(ctx, "env", append(flags, args...)...)
}

func TestEtcd(t *testing.T) {
	for _, spec := range []EtcdSpec{
		{Server: "real"}, {Server: "real", TLS: true}, {Server: "embedded", TLS: true}, {Server: "real", Members: 3},
	} {
		t.Run(strings.ToLower(spec.String()), func(t *testing.T) {
			t.Parallel()
			testEtcd(t, spec)
		})
	}
}

func testEtcd(t *testing.T, spec EtcdSpec) {
	ctx := testContext(t)
	bin := Binaries{}
	if spec.Server == "embedded" {
		var err error
		if bin.Lab, err = buildLab(ctx, t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
	l := makeLab(t, Options{Binaries: bin, Topology: Topology{
		Etcd:  spec,
		Hosts: []HostSpec{{Name: "h1", Rack: "r1"}, {Name: "h2", Rack: "r2", Families: []string{"ipv6"}}},
	}})
	must(t, l.Etcd.Start(ctx))
	h1, h2 := l.Host("h1"), l.Host("h2")
	_, err := etcdctl(ctx, h1, "put", "key", "value")
	must(t, err)
	got := func() string {
		out, err := etcdctl(ctx, h2, "get", "--print-value-only", "key")
		must(t, err)
		return strings.TrimSpace(out)
	}
	if v := got(); v != "value" {
		t.Errorf("read %q from the other rack over IPv6", v)
	}

	must(t, l.Etcd.Freeze())
	if _, err := etcdctl(ctx, h1, "get", "key"); err == nil {
		t.Error("a frozen server answered")
	}
	must(t, l.Etcd.Thaw())
	must(t, l.Etcd.WaitReady(ctx))
	must(t, l.Etcd.Stop(ctx))
	must(t, l.Etcd.Start(ctx))
	if v := got(); v != "value" {
		t.Errorf("read %q after a restart", v)
	}
	must(t, l.Etcd.Wipe(ctx))
	must(t, l.Etcd.Start(ctx))
	if v := got(); v != "" {
		t.Errorf("read %q after a wipe", v)
	}
}

// buildLab compiles weft-lab alone.
func buildLab(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "weft-lab")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/weft-net/weft/cmd/weft-lab").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
}

func TestEtcdInsistsOnClientCertificates(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	l := bareLab(t, Topology{Etcd: EtcdSpec{Server: "real", TLS: true}})
	if err := l.Etcd.Start(ctx); err != nil {
		t.Fatal(err)
	}
	bare := l.Etcd.tls.Clone()
	bare.Certificates = nil
	client := http.Client{Transport: &http.Transport{TLSClientConfig: bare, DialContext: l.Host("h3").Dial, DisableKeepAlives: true}}
	url := "https://" + netip.AddrPortFrom(leafAddr(linkEtcd, fabric.IPv4), 2379).String() + "/health"
	if resp, err := client.Get(url); err == nil {
		resp.Body.Close()
		t.Errorf("a client without a certificate got %s", resp.Status)
	} else if !strings.Contains(err.Error(), "certificate") {
		t.Errorf("refused for another reason: %v", err)
	}
}

func TestEtcdSaysWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	l := bareLab(t, Topology{Etcd: EtcdSpec{Server: "real"}})
	if err := os.MkdirAll(l.Etcd.dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.Etcd.dataDir(l.Etcd.members[0]), nil, 0o600); err != nil { // a file where a directory must be
		t.Fatal(err)
	}
	err := l.Etcd.Start(testContext(t))
	if err == nil || !strings.Contains(err.Error(), "not running") || !strings.Contains(err.Error(), "etcd1.log") {
		t.Errorf("got %v, want an error that names the log", err)
	}
}

package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// patience bounds every wait of these tests; a slow machine needs a part of it.
const patience = 60 * time.Second

// etcdServer is Debian's etcd in a process of its own on loopback.
type etcdServer struct {
	t    *testing.T
	dir  string
	url  string
	peer string
	args []string
	cmd  *exec.Cmd
	done chan struct{}
	log  *lockedBuffer
}

// lockedBuffer takes a process's output while the test reads it.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// dataDir is in memory where there is such a thing: etcd 3.4 syncs each write.
func dataDir(t *testing.T) string {
	t.Helper()
	base := ""
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		base = "/dev/shm"
	}
	sweep(cmp.Or(base, os.TempDir()))
	dir, err := os.MkdirTemp(base, dataPrefix)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := os.Open(dir)
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_SH)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		os.RemoveAll(dir)
		lock.Close()
	})
	return dir
}

const dataPrefix = "weft-store-test-"

// sweep removes what killed runs left: directories that no living process
// holds a lock on. A fresh one may not be locked yet, so it is left alone.
func sweep(base string) {
	old, _ := filepath.Glob(filepath.Join(base, dataPrefix+"*")) // the pattern is good
	for _, dir := range old {
		st, err := os.Stat(dir)
		if err != nil || time.Since(st.ModTime()) < time.Minute {
			continue
		}
		f, err := os.Open(dir)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			os.RemoveAll(dir)
		}
		f.Close()
	}
}

// freePort is an address and port to listen on. While a server is stopped, a
// port of 127.0.0.1 may be taken by any connection that others make; nobody
// connects from the other addresses of loopback.
func freePort(t *testing.T, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newEtcd(t *testing.T, args ...string) *etcdServer {
	t.Helper()
	scheme, host := "http://", fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(200), rand.IntN(256), 1+rand.IntN(250))
	if strings.Contains(strings.Join(args, " "), "--cert-file") {
		scheme, host = "https://", "127.0.0.1" // as in the certificate
	}
	e := &etcdServer{t: t, dir: filepath.Join(dataDir(t), "data"), url: scheme + freePort(t, host), peer: "http://" + freePort(t, host), args: args}
	e.start()
	t.Cleanup(e.stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of etcd at %s:\n%s", e.url, e.log)
		}
	})
	return e
}

// start runs the server; it dies with the thread that started it, which
// therefore lives as long as the process does.
func (e *etcdServer) start() {
	e.t.Helper()
	e.log = new(lockedBuffer)
	args := append([]string{"--name", "one", "--data-dir", e.dir, "--listen-client-urls", e.url, "--advertise-client-urls", e.url,
		"--listen-peer-urls", e.peer, "--initial-advertise-peer-urls", e.peer, "--initial-cluster", "one=" + e.peer,
		"--heartbeat-interval", "200", "--election-timeout", "2000", "--logger", "zap", "--log-level", "warn"}, e.args...)
	cmd := exec.Command("etcd", args...)
	cmd.Stdout, cmd.Stderr = e.log, e.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
		close(done)
	}()
	if err := <-started; err != nil {
		e.t.Fatalf("start etcd: %v (Debian package etcd-server)", err)
	}
	e.cmd, e.done = cmd, done
}

func (e *etcdServer) stop() {
	e.cmd.Process.Signal(syscall.SIGCONT)
	e.cmd.Process.Kill()
	<-e.done
}

func (e *etcdServer) signal(s syscall.Signal) {
	e.t.Helper()
	if err := e.cmd.Process.Signal(s); err != nil {
		e.t.Fatal(err)
	}
}

// client is a plain client of the test's own.
func (e *etcdServer) client(conf ...*tls.Config) *clientv3.Client {
	e.t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{e.url}, Logger: zap.NewNop(), TLS: cmp.Or(conf...)})
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { c.Close() })
	eventually(e.t, "etcd to answer", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := c.Get(ctx, "x")
		return err
	})
	return c
}

// eventually polls until f says nil.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s: %v", patience, what, err)
		}
		<-tick.C
	}
}

// must is for calls that cannot fail in a healthy test.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const testPrefix = "/weft/v1/"

func put(t *testing.T, c *clientv3.Client, key, value string, opts ...clientv3.OpOption) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	resp, err := c.Put(ctx, testPrefix+key, value, opts...)
	must(t, err)
	return resp.Header.Revision
}

func del(t *testing.T, c *clientv3.Client, key string, opts ...clientv3.OpOption) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := c.Delete(ctx, testPrefix+key, opts...)
	must(t, err)
}

// fabricValue is a Fabric object as it is stored.
func fabricValue(network string, length int, ttl, liveness string) string {
	return fmt.Sprintf(`{"apiVersion":"weft/v1","kind":"Fabric","metadata":{"name":"default"},"spec":{"network":{"ipv4":%q},"subnetLength":{"ipv4":%d},"backend":"vxlan","lease":{"ttl":%q,"liveness":%q}}}`,
		network, length, ttl, liveness)
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/internal/testns"
)

// asWeftd makes the test binary behave as weftd.
const asWeftd = "WEFT_TEST_RUNS_MAIN=1"

func TestMain(m *testing.M) {
	for _, e := range os.Environ() {
		if e == asWeftd {
			main()
			return // main exits
		}
	}
	os.Exit(testns.Main(m))
}

// weftd is a command that dies with the test.
func weftd(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(env, asWeftd)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func TestBadConfigurationIsOneLineAndExitCode2(t *testing.T) {
	file := filepath.Join(t.TempDir(), "weftd.yaml")
	if err := os.WriteFile(file, []byte("nodeName: a\netcd:\n  endpoint: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		env  []string
		args []string
		want string
	}{
		{"unknown key", nil, []string{"--config", file}, "weftd.yaml:3: etcd.endpoint"},
		{"missing file", nil, []string{"--config", "/nonexistent/weftd.yaml"}, "/nonexistent/weftd.yaml"},
		{"bad flag", nil, []string{"--nonsense"}, "nonsense"},
		{"bad environment", []string{"WEFT_CONFIG=/dev/null", "WEFT_LISTEN=nonsense"}, nil, "WEFT_LISTEN"},
		{"mistyped environment", []string{"WEFT_CONFIG=/dev/null", "WEFT_ETCD_ENDPOINT=x"}, nil, "WEFT_ETCD_ENDPOINT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := weftd(t, c.env, c.args...)
			out, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != exitConfig || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), c.want) {
				t.Errorf("exit code %d, output %q, want code 2 and one line with %q", cmd.ProcessState.ExitCode(), out, c.want)
			}
		})
	}
}

// uplink gives the test's namespace an underlay.
func uplink(t *testing.T) {
	t.Helper()
	testns.New(t)
	for _, line := range []string{
		"link add eth0 type veth peer name far0", "link set eth0 up", "link set far0 up",
		"addr add 198.18.0.1/24 dev eth0", "route add default via 198.18.0.254",
	} {
		testns.Run(t, "ip", strings.Fields(line)...)
	}
}

// start runs weftd in the test's namespace with an etcd that is not there.
func start(t *testing.T, dir string, env ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := weftd(t, env, "--config", "/dev/null", "--node-name", "a", "--node-id", "a", "--etcd-endpoints", "http://127.0.0.1:1",
		"--run-dir", filepath.Join(dir, "run"), "--state-dir", filepath.Join(dir, "state"))
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &log
}

func TestAgentWithoutEtcdAnswersAndStops(t *testing.T) {
	uplink(t)
	dir := t.TempDir()
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	cmd, log := start(t, dir, "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))

	_ = manager.SetReadDeadline(time.Now().Add(30 * time.Second))
	buf := make([]byte, 4096)
	n, err := manager.Read(buf)
	if err != nil {
		t.Fatalf("nothing told to the service manager: %v", err)
	}
	if text := string(buf[:n]); !strings.HasPrefix(text, "STATUS=not ready: ") || strings.Contains(text, "READY=1") {
		t.Errorf("told the service manager %q", text)
	}
	var status *api.Status
	poll(t, func() (err error) {
		status, err = api.Dial(filepath.Join(dir, "run")).Status(context.Background())
		return err
	})
	if status.Ready || len(status.NotReady) == 0 || status.Etcd.Connected {
		t.Errorf("status %+v", status)
	}
	if info, err := os.Stat(filepath.Join(dir, "run", api.Socket)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("control socket: %v %v, want mode 0600", info, err)
	}

	if err := api.Dial(filepath.Join(dir, "run")).ReleaseHold(context.Background()); err != nil {
		t.Errorf("release a hold that there is none: %v", err)
	}
	for path, want := range map[string]string{
		"/healthz": "200 OK", "/readyz": "503 Service Unavailable", "/metrics": "weft_ready 0",
	} {
		if page := get(t, path); !strings.Contains(page, want) {
			t.Errorf("%s: want %q in\n%s", path, want, page)
		}
	}

	second, secondLog := start(t, dir)
	if err := second.Wait(); err == nil || !strings.Contains(secondLog.String(), "another weftd uses this run directory") {
		t.Errorf("a second agent in the same run directory: %v\n%s", err, secondLog)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("stop: %v\n%s", err, log)
	}
}

// get fetches a page of the health endpoint. The connection is made by this
// goroutine, whose thread is in the test's namespace; net/http would use others.
func get(t *testing.T, path string) (page string) {
	t.Helper()
	poll(t, func() error {
		conn, err := net.Dial("tcp", "127.0.0.1:9479")
		if err != nil {
			return err
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path)
		data, err := io.ReadAll(conn)
		page = string(data)
		return err
	})
	return page
}

// The machine boots before its network: the agent waits and says so once.
func TestAgentWaitsForAnUnderlay(t *testing.T) {
	testns.New(t)
	dir := t.TempDir()
	cmd, log := start(t, dir)
	client := api.Dial(filepath.Join(dir, "run"))
	poll(t, func() error {
		s, err := client.Status(context.Background())
		if err == nil && (len(s.NotReady) == 0 || !strings.Contains(s.NotReady[0], "no default route")) {
			err = fmt.Errorf("not ready because of %v", s.NotReady)
		}
		return err
	})
	for _, line := range []string{"link add eth0 type veth peer name far0", "link set eth0 up", "addr add 198.18.0.1/24 dev eth0",
		"link set far0 up", "route add default via 198.18.0.254"} {
		testns.Run(t, "ip", strings.Fields(line)...)
	}
	poll(t, func() error {
		s, err := client.Status(context.Background())
		if err == nil && s.Underlay.Interface != "eth0" {
			err = fmt.Errorf("underlay %+v", s.Underlay)
		}
		return err
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if n := strings.Count(log.String(), "underlay not found"); n != 1 {
		t.Errorf("said %d times that there is no underlay\n%s", n, log)
	}
}

// poll tries until it works or a generous time has passed.
func poll(t *testing.T, try func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(err)
		}
	}
}

package cli

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/config"
)

// write puts a file into a directory of the test's and returns its path.
func tempFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBadUsage: nothing here needs etcd, so nothing may ask for it.
func TestBadUsage(t *testing.T) {
	broken := tempFile(t, "weftd.yaml", "listen: :1\netcd:\n  endpoint: x\n")
	object := tempFile(t, "fabric.yaml", strings.Replace(fabricYAML, "ipv4:", "ipv5:", 1))
	for _, c := range []struct {
		line string
		env  []string
		want string // of standard error, without "weft: "
	}{
		{"frobnicate", nil, "\"frobnicate\" is not a command of weft; see `weft --help`"},
		{"stat", nil, "\"stat\" is not a command of weft (did you mean status?); see `weft --help`"},
		{"node rm a", nil, "\"rm\" is not a command of weft node; see `weft node --help`"},
		{"get", nil, "weft get needs KIND; see `weft get --help`"},
		{"get fabric a b", nil, "weft get takes no argument \"b\"; see `weft get --help`"},
		{"get fabrik", nil, `"fabrik" is not a kind of object (did you mean fabric?)`},
		{"delete fabric", nil, "weft delete needs NAME; see `weft delete --help`"},
		{"delete peer a", nil, `"peer" is not a kind of object`},
		{"nodes a", nil, "weft nodes takes no argument \"a\"; see `weft nodes --help`"},
		{"nodes -o xml", nil, `invalid argument "xml" for "-o, --output" flag: want one of table, wide, json, yaml`},
		{"nodes --etcd", nil, "unknown flag: --etcd"},
		{"peers a b", nil, "weft peers takes no argument \"b\"; see `weft peers --help`"},
		{"ip show", nil, "weft ip show needs ADDRESS; see `weft ip show --help`"},
		{"ip show 10.244.1.0/24", nil, `"10.244.1.0/24" is not an address (like 10.244.7.9)`},
		{"ip show fe80::1%eth0", nil, `"fe80::1%eth0" is not an address (like 10.244.7.9)`},
		{"pods a", nil, "weft pods takes no argument \"a\"; see `weft pods --help`"},
		{"pods -l =x", nil, `--selector: "=x" is not a condition (want KEY=VALUE, KEY!=VALUE, KEY or !KEY)`},
		{"bgp why", nil, "weft bgp why needs PREFIX; see `weft bgp why --help`"},
		{"bgp why x", nil, `"x" is neither a prefix nor an address (like 10.244.7.0/24 or 10.244.7.9)`},
		{"bgp routes 10.244.7.1/24", nil, "10.244.7.1/24 has host bits set (did you mean 10.244.7.0/24?)"},
		{"bgp tor-config", nil, "weft bgp tor-config needs --for KIND (frr, bird, eos, nxos, junos, sonic)"},
		{"node drain", nil, "weft node drain needs NAME; see `weft node drain --help`"},
		{"apply", nil, "no file is given, want -f FILE (or - for standard input)"},
		{"validate -f /nonexistent", nil, "/nonexistent: no such file or directory"},
		{"validate -f /", nil, "/: is a directory"},
		{"validate -f -", nil, "standard input: holds no object (want apiVersion, kind, metadata and spec)"},
		{"validate -f OBJECT", nil, "OBJECT:7: spec.network.ipv5: unknown key (did you mean spec.network.ipv4?)"},
		{"apply -f OBJECT", nil, "OBJECT:7: spec.network.ipv5: unknown key (did you mean spec.network.ipv4?)"},
		{"diff -f OBJECT", nil, "OBJECT:7: spec.network.ipv5: unknown key (did you mean spec.network.ipv4?)"},
		{"lease reserve 10.0.0.0/8", nil, "weft lease reserve needs --node NAME"},
		{"lease reserve 10.0.0.1/8 --node a", nil, "10.0.0.1/8 has host bits set (did you mean 10.0.0.0/8?)"},
		{"lease unreserve 10.0.0.0", nil, `"10.0.0.0" is not a prefix (like 10.244.7.0/24)`},
		{"nodes --config BROKEN", nil, "BROKEN:3: etcd.endpoint: unknown key (did you mean etcd.endpoints?)"},
		{"status", []string{"WEFT_CONFIG=BROKEN"}, "BROKEN:3: etcd.endpoint: unknown key (did you mean etcd.endpoints?)"},
		{"nodes --config /nonexistent", nil, "/nonexistent: no such file or directory (the node's file, see --config)"},
		{"leases --etcd-endpoints=x", nil, `--etcd-endpoints: "x" is not an etcd endpoint (want http:// or https:// with host and port, like https://192.0.2.1:2379)`},
		{"leases", []string{"WEFT_ETCD_DIAL_TIMEOUT=5"}, `WEFT_ETCD_DIAL_TIMEOUT: "5" is not a duration (want a number with a unit, like 15s or 24h)`},
		{"leases", []string{"WEFT_ETCD_ENDPOINT=x"}, "WEFT_ETCD_ENDPOINT: unknown environment variable (did you mean WEFT_ETCD_ENDPOINTS?)"},
		{"nodes --etcd-endpoints=https://127.0.0.1:1 --etcd-tls-ca=BROKEN", nil, "etcd tls ca: BROKEN holds no PEM certificate"},
	} {
		paths := strings.NewReplacer("BROKEN", broken, "OBJECT", object)
		var env []string
		for _, e := range c.env {
			env = append(env, paths.Replace(e))
		}
		r := command(t, env, "", strings.Fields(paths.Replace(c.line))...)
		if want := "weft: " + paths.Replace(c.want) + "\n"; r.code != exitUsage || r.out != "" || r.err != want {
			t.Errorf("weft %s: exit code %d, output %q\ngot:  %swant: %s", c.line, r.code, r.out, r.err, want)
		}
	}
}

func TestValidateNeedsNoEtcd(t *testing.T) {
	if r := command(t, nil, fabricYAML, "validate", "-f", "-"); r != (result{exitDone, "fabric prod: valid\n", ""}) {
		t.Errorf("got %+v", r)
	}
}

func TestReferenceIsPrinted(t *testing.T) {
	if r := command(t, nil, "", "config", "reference"); r.code != exitDone || r.out != config.Reference {
		t.Errorf("got %+v", r)
	}
}

// TestEveryAgentFlagIsAccepted: one environment and one set of flags serves
// the agent and the command line.
func TestEveryAgentFlagIsAccepted(t *testing.T) {
	r := command(t, []string{"WEFT_LISTEN=127.0.0.1:1", "WEFT_UNDERLAY_ADDRESS=192.0.2.1"}, fabricYAML,
		"validate", "-f", "-", "--node-name=a", "--cni-write", "--log-level=debug", "--run-dir=/x")
	if r.code != exitDone {
		t.Errorf("got %+v", r)
	}
}

// TestUnreachable: what cannot be asked is said at once, with the reason.
func TestUnreachable(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0") // a port of nobody else's
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	closed.Close()
	env := []string{"WEFT_CONFIG=/dev/null", "WEFT_ETCD_ENDPOINTS=" + address, "WEFT_RUN_DIR=/nonexistent"}
	etcdDown := "weft: etcd at http://" + address + " does not answer: connect: connection refused; hint: is it running? set --etcd-endpoints, WEFT_ETCD_ENDPOINTS or etcd.endpoints in /etc/weft/weftd.yaml\n"
	agentDown := "weft: weftd is not running here (no listener at /nonexistent/weftd.sock); hint: see `systemctl status weftd`, or set --run-dir to the agent's\n"
	for line, want := range map[string]string{
		"nodes": etcdDown, "leases": etcdDown, "get fabric": etcdDown, "delete fabric a": etcdDown, "apply -f -": etcdDown, "diff -f -": etcdDown,
		"lease reserve 10.0.0.0/24 --node a": etcdDown, "lease unreserve 10.0.0.0/24": etcdDown, "node remove a": etcdDown,
		"status": agentDown, "peers": agentDown, "peers a": agentDown, "hold release": agentDown, "bgp peers": agentDown, "bgp routes": agentDown, "bgp why 10.0.0.0/24": agentDown, "bgp shutdown": agentDown,
		"node drain a": etcdDown, "node undrain a": etcdDown, "bgp tor-config --for frr --asn 1 --address 198.18.0.1/24": etcdDown,
	} {
		if r := command(t, env, fabricYAML, strings.Fields(line)...); r.code != exitUnreachable || r.err != want {
			t.Errorf("weft %s: exit code %d\ngot:  %swant: %s", line, r.code, r.err, want)
		}
	}
}

// agentSocket answers on a control socket as an agent in the given state.
func agentSocket(t *testing.T, s *api.Status, release string) (env []string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+api.PathStatus, func(w http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(w).Encode(s); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("POST "+api.PathReleaseHold, func(w http.ResponseWriter, _ *http.Request) {
		if release != "" {
			http.Error(w, release, http.StatusConflict)
		}
	})
	return onSocket(t, mux)
}

// onSocket answers on a control socket, and returns the environment that leads
// to it.
func onSocket(t *testing.T, answers http.Handler) (env []string) {
	t.Helper()
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, api.Socket))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: answers}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-done
	})
	return []string{"WEFT_CONFIG=/dev/null", "WEFT_RUN_DIR=" + dir}
}

func TestStatusCommand(t *testing.T) {
	ready, broken := agentSocket(t, readyStatus(), ""), agentSocket(t, brokenStatus(), "")
	if r := command(t, ready, "", "status"); r.code != exitDone || r.out != statusText(readyStatus(), nil, noon, false) {
		t.Errorf("ready: %+v", r)
	}
	if r := command(t, broken, "", "status", "-o", "wide"); r.code != exitNo || r.out != statusText(brokenStatus(), nil, noon, true) {
		t.Errorf("broken: %+v", r)
	}
	r := command(t, broken, "", "status", "-o", "json")
	var got api.Status
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != exitNo || got.Hold == nil || len(got.Peers) != 3 {
		t.Errorf("json: %v, %+v", err, r)
	}
	if r := command(t, ready, "", "status", "-o", "yaml"); r.code != exitDone || !strings.Contains(r.out, "\nready: true\n") {
		t.Errorf("yaml: %+v", r)
	}
}

func TestHoldRelease(t *testing.T) {
	if r := command(t, agentSocket(t, nil, ""), "", "hold", "release"); r != (result{exitDone, "released\n", ""}) {
		t.Errorf("got %+v", r)
	}
	want := result{exitFailed, "", "weft: weftd: 409 Conflict: nothing is held\n"}
	if r := command(t, agentSocket(t, nil, "nothing is held"), "", "hold", "release"); r != want {
		t.Errorf("got %+v, want %+v", r, want)
	}
}

func TestCompletion(t *testing.T) {
	for line, want := range map[string]string{
		"__complete get ":      "fabric",
		"__complete nodes -o ": "wide",
		"__complete st":        "status",
		"__complete lease ":    "unreserve",
		"completion bash":      "__start_weft",
	} {
		args := strings.Split(line, " ")
		var out, errOut strings.Builder
		code := Run(t.Context(), Terminal{In: strings.NewReader(""), Out: &out, Err: &errOut}, args)
		if code != exitDone || !strings.Contains(out.String(), want) {
			t.Errorf("%s: exit code %d, got %.300s", line, code, out.String())
		}
	}
}

package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/golden"
	"github.com/weft-net/weft/store"
)

const fabricYAML = `apiVersion: weft/v1
kind: Fabric
metadata:
  name: prod
spec:
  network:
    ipv4: 10.244.0.0/16
    ipv6: fd00:10:244::/48
  lease: {ttl: 1h, liveness: 2s}
`

// TestObjectsThroughTheRealEtcd is the life of a Fabric: each step is a
// command line, its exit code and what it prints.
func TestObjectsThroughTheRealEtcd(t *testing.T) {
	env := etcd(t)
	changed := strings.Replace(fabricYAML, "ttl: 1h", "ttl: 2h", 1) + "  reserved: [10.244.0.0/24]\n"
	file := filepath.Join(t.TempDir(), "fabric.yaml")
	if err := os.WriteFile(file, []byte(fabricYAML), 0o600); err != nil {
		t.Fatal(err)
	}
	var transcript strings.Builder
	for _, step := range []struct {
		line, stdin string
		code        int
	}{
		{"get fabric", "", exitFailed},
		{"delete fabric prod", "", exitFailed},
		{"lease reserve 10.244.9.0/24 --node a", "", exitFailed},
		{"nodes", "", exitDone},
		{"apply -f FILE --dry-run", "", exitDone},
		{"get fabric", "", exitFailed}, // the dry run wrote nothing
		{"diff -f FILE", "", exitNo},
		{"apply -f FILE", "", exitDone},
		{"apply -f FILE", "", exitDone},
		{"diff -f FILE", "", exitDone},
		{"get fabric", "", exitDone},
		{"get Fabric prod -o wide", "", exitDone},
		{"get fabric -o yaml", "", exitDone},
		{"get fabrics -o json", "", exitDone},
		{"get fabric other", "", exitFailed},
		{"diff -f -", changed, exitNo},
		{"apply -f -", changed, exitDone},
		{"apply -f -", strings.Replace(fabricYAML, "name: prod", "name: test", 1), exitFailed},
		{"nodes -o json", "", exitDone},
		{"leases -o yaml", "", exitDone},
		{"delete fabric other", "", exitFailed},
		{"delete fabric prod", "", exitDone},
		{"get fabric", "", exitFailed},
	} {
		r := command(t, env, step.stdin, strings.Fields(strings.ReplaceAll(step.line, "FILE", file))...)
		if r.code != step.code {
			t.Errorf("%s: exit code %d, want %d: %s", step.line, r.code, step.code, r.err)
		}
		transcript.WriteString("$ weft " + step.line + "\n" + r.out + r.err)
	}
	golden.Compare(t, "objects.txt", transcript.String())
}

// TestWhatGetPrintsCanBeApplied: the two forms are the same object.
func TestWhatGetPrintsCanBeApplied(t *testing.T) {
	env := etcd(t)
	if r := command(t, env, fabricYAML, "apply", "-f", "-"); r.code != exitDone {
		t.Fatal(r.err)
	}
	for _, f := range []string{formYAML, formJSON} {
		text := command(t, env, "", "get", "fabric", "-o", f).out
		if r := command(t, env, text, "apply", "-f", "-"); r.code != exitDone || r.out != "fabric prod: unchanged\n" {
			t.Errorf("%s:\n%s\n%+v", f, text, r)
		}
	}
}

// openStore connects as another user of the same etcd.
func openStore(t *testing.T, env []string) *store.Store {
	t.Helper()
	s, err := store.Open(store.Config{Endpoints: []string{"http://" + strings.TrimPrefix(env[0], "WEFT_ETCD_ENDPOINTS=")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func parse(t *testing.T, text string) []config.Object {
	t.Helper()
	objects, err := config.ParseObjects("fabric.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// planOf is what a file would change now.
func planOf(t *testing.T, s *store.Store, text string) []planned {
	t.Helper()
	stored, err := readShelf(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	out, err := plan(stored, parse(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestApplyLosesARace: between looking and writing somebody else wrote.
func TestApplyLosesARace(t *testing.T) {
	env := etcd(t)
	s := openStore(t, env)
	other := strings.Replace(fabricYAML, "ttl: 1h", "ttl: 5h", 1)
	mine := planOf(t, s, fabricYAML)
	if r := command(t, env, other, "apply", "-f", "-"); r.code != exitDone {
		t.Fatal(r.err)
	}
	err := write(t.Context(), s, mine)
	if f := asFailure(err); !errors.Is(err, store.ErrChanged) || f.code != exitFailed || f.hint == "" {
		t.Errorf("creating what exists by now: got %v", err)
	}
	mine = planOf(t, s, fabricYAML)
	if r := command(t, env, strings.Replace(fabricYAML, "ttl: 1h", "ttl: 6h", 1), "apply", "-f", "-"); r.code != exitDone {
		t.Fatal(r.err)
	}
	if err := write(t.Context(), s, mine); !errors.Is(err, store.ErrChanged) {
		t.Errorf("changing what changed: got %v", err)
	}
	if out := command(t, env, "", "get", "fabric", "-o", "yaml").out; !strings.Contains(out, "ttl: 6h") {
		t.Errorf("the loser wrote:\n%s", out)
	}
}

// TestApplyReplacesGarbage: a value that nobody can read is no obstacle.
func TestApplyReplacesGarbage(t *testing.T) {
	env := etcd(t)
	s := openStore(t, env)
	if err := s.Apply(t.Context(), []store.Change{{Key: "fabric", Value: []byte("{]")}}); err != nil {
		t.Fatal(err)
	}
	if r := command(t, env, "", "get", "fabric"); r.code != exitFailed || !strings.Contains(r.err, "stored object: ") {
		t.Errorf("get: %+v", r)
	}
	if r := command(t, env, fabricYAML, "apply", "-f", "-"); r.code != exitDone || !strings.Contains(r.out, "not JSON") {
		t.Errorf("apply: %+v", r)
	}
	if r := command(t, env, "", "get", "fabric"); r.code != exitDone {
		t.Errorf("get after apply: %+v", r)
	}
}

// join runs a real session for a node until it has its subnets; stop ends it.
func join(t *testing.T, env []string, n fabric.Node) (stop func()) {
	t.Helper()
	s := openStore(t, env)
	leased := make(chan struct{}, 1)
	session := s.NewSession(store.SessionOptions{
		Self: n, Instance: "life of " + n.Name, Snapshots: func(*fabric.Snapshot) {},
		Lease: func(l store.Lease) {
			if l.State == "leased" {
				select {
				case leased <- struct{}{}:
				default:
				}
			}
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- session.Run(ctx) }()
	ended := false
	stop = func() {
		if !ended {
			ended = true
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	select {
	case <-leased:
	case <-time.After(time.Minute):
		t.Fatalf("%s leased nothing", n.Name)
	}
	return stop
}

// TestARunningFabric: with nodes in it, what would break them is refused.
func TestARunningFabric(t *testing.T) {
	env := etcd(t)
	if r := command(t, env, fabricYAML, "apply", "-f", "-"); r.code != exitDone {
		t.Fatal(r.err)
	}
	must := func(line string) {
		t.Helper()
		if r := command(t, env, "", strings.Fields(line)...); r.code != exitDone {
			t.Fatalf("%s: %+v", line, r)
		}
	}
	must("lease reserve 10.244.5.0/24 --node host5")
	must("lease reserve fd00:10:244:5::/64 --node host5")
	stop := join(t, env, nodeOf("host5", 0, "198.18.0.5", ""))

	for _, c := range []struct{ name, old, new, want string }{
		{"network", "10.244.0.0/16", "10.1.0.0/16", "weft: spec.network.ipv4: 10.1.0.0/16 leaves out what is leased: 10.244.5.0/24; remove the nodes first\n"},
		{"vni", "  lease:", "  vxlan: {vni: 7}\n  lease:", "weft: spec.vxlan.vni: 1 -> 7 would cut nodes off from each other while subnets are leased; `weft migrate vxlan --vni 7` moves them one after the other\n"},
		{"underlay", "10.244.0.0/16", "198.18.0.0/16", "underlay address of node host5"},
	} {
		text := strings.Replace(fabricYAML, c.old, c.new, 1)
		if r := command(t, env, text, "apply", "-f", "-"); r.code != exitFailed || !strings.HasSuffix(strings.TrimSpace(r.err), strings.TrimSpace(c.want)) {
			t.Errorf("%s: got %+v, want %s", c.name, r, c.want)
		}
	}
	if r := command(t, env, strings.Replace(fabricYAML, "ttl: 1h", "ttl: 3h", 1), "apply", "-f", "-"); r.code != exitDone {
		t.Errorf("what can change live is refused: %s", r.err)
	}
	if r := command(t, env, "", "delete", "fabric", "prod"); r.code != exitFailed || !strings.Contains(r.err, "fabric prod: 2 subnets are leased; hint: ") {
		t.Errorf("delete: %+v", r)
	}
	if r := command(t, env, "", "node", "remove", "host5"); r.code != exitFailed || !strings.Contains(r.err, "node host5: its agent is alive; hint: stop weftd") {
		t.Errorf("removing a node that is alive: %+v", r)
	}
	if r := command(t, env, "", "lease", "reserve", "10.244.5.0/24", "--node", "other"); r.code != exitFailed || !strings.Contains(r.err, "is reserved for host5") {
		t.Errorf("reserving another's subnet: %+v", r)
	}
	must("lease unreserve fd00:10:244:5::/64")
	var life strings.Builder
	show := func(line string) {
		r := command(t, env, "", strings.Fields(line)...)
		life.WriteString("$ weft " + line + "\n" + r.out + r.err)
	}
	show("nodes")
	show("leases")
	stop()
	waitFor(t, "the agent's alive key to expire", func() bool {
		return strings.Contains(command(t, env, "", "nodes").out, " gone ")
	})
	show("leases")
	show("node remove host5")
	show("node remove host5")
	show("leases")
	show("lease unreserve 10.244.5.0/24")
	show("lease unreserve 10.244.5.0/24")
	show("leases")
	golden.Compare(t, "life.txt", life.String())
}

// waitFor polls until something is so; it gives up after a minute.
func waitFor(t *testing.T, what string, isSo func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); !isSo(); {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

// TestStoreConfig: every setting about etcd reaches the store.
func TestStoreConfig(t *testing.T) {
	e := config.Etcd{
		Endpoints: []string{"https://a:1"}, Prefix: "/p", TLS: config.TLS{CA: "ca", Cert: "cert", Key: "key"},
		Username: "user", PasswordFile: "file", DialTimeout: time.Second,
	}
	want := store.Config{Endpoints: e.Endpoints, Prefix: "/p", Username: "user", PasswordFile: "file", DialTimeout: time.Second}
	want.TLS.CA, want.TLS.Cert, want.TLS.Key = "ca", "cert", "key"
	if got := storeConfig(e); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, v := range []reflect.Value{reflect.ValueOf(e), reflect.ValueOf(e.TLS)} {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("the test leaves %s out", v.Type().Field(i).Name)
			}
		}
	}
}

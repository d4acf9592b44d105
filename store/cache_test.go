package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/fabric"
)

func cacheOfNode0(path string) agentOption {
	return func(_ *Config, o *SessionOptions) {
		if o.Self.Name == "node-0" {
			o.CacheFile = path
		}
	}
}

// A host boots into a working fabric while etcd is down, and does not trust
// its cache longer than its lease lived.
func TestCache(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	cache := filepath.Join(t.TempDir(), "snapshot.json")
	agents := five(t, e.url, cacheOfNode0(cache))
	_, share := agents[0].now()
	agents[0].stop()
	e.stop()

	b := startAgent(t, []string{e.url}, testNode(0), withCache(cache))
	s := b.waitSnap("the cached fabric", func(s *fabric.Snapshot) bool { return s.Cached })
	if !fiveWhole(s) || s.Spec == nil {
		t.Errorf("cached: %s", describe(s))
	}
	if l := b.waitState(Leased); !equalLease(l, share) {
		t.Errorf("cached lease %+v, want %+v", l, share)
	}
	if st := b.ss.Etcd(); !st.Cached || st.Connected {
		t.Errorf("status %+v", st)
	}
	e.start()
	b.waitSnap("the real fabric", func(s *fabric.Snapshot) bool { return !s.Cached && fiveWhole(s) })
	if l := b.waitState(Leased); !equalLease(l, share) || b.sawState(Fenced) {
		t.Errorf("real lease %+v, want %+v", l, share)
	}
	b.stop()
	e.stop()

	text, err := os.ReadFile(cache)
	must(t, err)
	i := strings.Index(string(text), `"kept":"`) + len(`"kept":"`)
	old := string(text[:i]) + "2001" + string(text[i+4:])
	must(t, os.WriteFile(cache, []byte(old), 0o600))
	d := startAgent(t, []string{e.url}, testNode(0), withCache(cache))
	if l := d.waitState(Fenced); len(l.Subnets) != 0 || d.sawState(Leased) {
		t.Errorf("lease of 2001: %+v", l)
	}
}

// An etcd that was wiped while the agent was down does not take the peers that
// the cache knows.
func TestCacheAgainstAWipedEtcd(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	cache := filepath.Join(t.TempDir(), "snapshot.json")
	agents := five(t, e.url, cacheOfNode0(cache))
	for _, a := range agents {
		a.stop()
	}
	del(t, c, "", clientv3.WithPrefix())
	a := startAgent(t, []string{e.url}, testNode(0), withCache(cache))
	s := a.waitSnap("the real list", func(s *fabric.Snapshot) bool { return s.Revision > 0 && !s.Cached })
	if s.Hold == nil || held(s) != 4 || s.Spec == nil {
		t.Errorf("want four held: %s", describe(s))
	}
}

// A cache that cannot be read or written costs one warning.
func TestBrokenCache(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	for name, content := range map[string]string{"garbage": "{", "other": `{"version":1,"nodeID":"someone"}`, "version": `{"version":99}`, "empty": ""} {
		path := filepath.Join(t.TempDir(), name)
		must(t, os.WriteFile(path, []byte(content), 0o600))
		a := startAgent(t, []string{e.url}, testNode(1), withCache(path))
		a.waitState(Leased)
		a.stop()
		if n := strings.Count(a.logs.String(), "cached snapshot is not used"); n != 1 {
			t.Errorf("%s: %d warnings:\n%s", name, n, a.logs)
		}
		if b, err := os.ReadFile(path); err != nil || !strings.Contains(string(b), "id-node-1") {
			t.Errorf("%s: the cache was not replaced: %v", name, err)
		}
	}
	a := startAgent(t, []string{e.url}, testNode(1), withCache("/proc/nowhere/snapshot.json"))
	a.waitState(Leased)
	a.stop()
	if n := strings.Count(a.logs.String(), "cannot be cached"); n != 1 {
		t.Errorf("unwritable: %d warnings:\n%s", n, a.logs)
	}
}

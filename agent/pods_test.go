package agent

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/weft-net/weft/cni/record"
)

func kicked(t *testing.T, kicks <-chan struct{}, why string) {
	t.Helper()
	select {
	case <-kicks:
	case <-time.After(time.Minute):
		t.Fatalf("%s: no kick", why)
	}
}

// settle takes the kicks that come for the sake of the start.
func settle(kicks <-chan struct{}) {
	for {
		select {
		case <-kicks:
		case <-time.After(3 * hearPodsEvery):
			return
		}
	}
}

func watchPods(t *testing.T, runDir string) <-chan struct{} {
	t.Helper()
	w := newPodWatch(quiet(), runDir)
	w.again = time.Hour // by the clock alone no kick comes
	kicks := w.listen()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	kicked(t, kicks, "the start")
	return kicks
}

func podRecord(container string, addrs ...netip.Prefix) *record.Record {
	r := &record.Record{Version: record.Version, Network: "weft", Container: container, Interface: "eth0", Addrs: addrs, Created: time.Now()}
	r.HostInterface = r.Attachment().HostInterface()
	return r
}

// Pods that come and go are heard of, whatever becomes of the directory that
// they are heard of by.
func TestPodsAreHeardOf(t *testing.T) {
	runDir := filepath.Join(t.TempDir(), "run") // not there yet
	kicks := watchPods(t, runDir)
	settle(kicks)
	r := podRecord("a")
	come := func(why string) {
		t.Helper()
		if err := r.Write(runDir); err != nil {
			t.Fatal(err)
		}
		kicked(t, kicks, why)
		settle(kicks)
	}
	come("a pod came")
	if err := record.Remove(runDir, r.Attachment()); err != nil {
		t.Fatal(err)
	}
	kicked(t, kicks, "a pod went")
	settle(kicks)
	if err := os.RemoveAll(record.Dir(runDir)); err != nil {
		t.Fatal(err)
	}
	kicked(t, kicks, "the directory went")
	settle(kicks)
	come("a pod came to a directory made anew")
	if err := os.Rename(record.Dir(runDir), runDir+".away"); err != nil {
		t.Fatal(err)
	}
	kicked(t, kicks, "the directory was moved away")
	settle(kicks)
	come("a pod came after the directory was moved away")
}

// What is not a record, or not one yet, kicks nobody: the plugin writes each
// record into a file beside it first.
func TestOnlyRecordsAreHeardOf(t *testing.T) {
	w := newPodWatch(quiet(), "/run/weft")
	name := podRecord("a").HostInterface
	for _, c := range []struct {
		name string
		op   fsnotify.Op
		want bool
	}{
		{name + ".json", fsnotify.Create, true},
		{name + ".json", fsnotify.Remove, true},
		{name + ".json", fsnotify.Write, false},
		{name + ".json.new", fsnotify.Create, false},
		{"other.json", fsnotify.Create, false},
		{"", 0, false}, // what the kernel says of a watch that ends
	} {
		if got := w.isRecord(fsnotify.Event{Name: filepath.Join(w.dir, c.name), Op: c.op}); got != c.want {
			t.Errorf("%s %v: got %v", c.name, c.op, got)
		}
	}
}

// Without notifications the clock kicks.
func TestPodsAreLookedForUnheard(t *testing.T) {
	runDir := filepath.Join(t.TempDir(), "run")
	if err := os.WriteFile(runDir, nil, 0o600); err != nil { // no directory can be made below it
		t.Fatal(err)
	}
	w := newPodWatch(quiet(), runDir)
	w.again = time.Millisecond
	kicks := w.listen()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.run(ctx) }()
	for range 3 {
		kicked(t, kicks, "the clock")
	}
	cancel()
	if err := <-done; err != nil || w.said == "" {
		t.Errorf("run: %v, said %q: want an error that was logged and no end", err, w.said)
	}
}

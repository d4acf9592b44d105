package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/ipam"
)

const (
	// hearPodsEvery is the least time between two kicks: of a hundred pods that
	// start together the listeners hear a few times.
	hearPodsEvery = 100 * time.Millisecond
	// lookForPodsEvery is when the listeners are kicked although nothing was
	// heard, and when a watch that could not be had is tried for again.
	lookForPodsEvery = 10 * time.Second
)

// podWatch kicks its listeners when pods have come or gone, by the directory of
// their records. A kick says nothing but "look": none is lost that matters, also
// when notifications are, as the listeners are kicked now and then unasked.
type podWatch struct {
	log       *logrus.Entry
	dir       string
	again     time.Duration   // lookForPodsEvery, but for tests
	listeners []chan struct{} // each with room for one kick; fixed before run
	said      string          // the error last logged
}

func newPodWatch(log *logrus.Entry, runDir string) *podWatch {
	return &podWatch{log: log, dir: record.Dir(runDir), again: lookForPodsEvery}
}

// listen returns a channel of kicks for one listener, the first at the start. It
// is called before run.
func (w *podWatch) listen() <-chan struct{} {
	c := make(chan struct{}, 1)
	w.listeners = append(w.listeners, c)
	return c
}

func (w *podWatch) kick() {
	for _, c := range w.listeners {
		kick(c)
	}
}

// run kicks until ctx ends. A host that has no notification left to give
// (fs.inotify.max_user_instances) is no reason to end: the clock kicks.
func (w *podWatch) run(ctx context.Context) error {
	news := &pace{every: hearPodsEvery, call: w.kick}
	tick := time.NewTicker(w.again)
	defer tick.Stop()
	var events <-chan fsnotify.Event // nil, which never comes, without a watcher
	var faults <-chan error
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer watcher.Close()
		events, faults = watcher.Events, watcher.Errors
		err = w.watch(watcher)
	}
	w.say(err)
	news.do()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			if e.Name == w.dir { // it was removed or renamed, and its watch with it
				w.say(w.watch(watcher))
			} else if !w.isRecord(e) {
				continue
			}
		case err := <-faults:
			if !errors.Is(err, fsnotify.ErrEventOverflow) { // which the kick makes good
				w.say(err)
			}
		case <-tick.C:
			if watcher != nil {
				w.say(w.watch(watcher))
			}
		}
		news.do()
	}
}

// watch makes the directory if the plugin has not yet, and watches the one that
// is there now.
func (w *podWatch) watch(watcher *fsnotify.Watcher) error {
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return err
	}
	_ = watcher.Remove(w.dir) // its watch, if any, may be of a directory that is no more
	return watcher.Add(w.dir)
}

// isRecord reports whether an event is about a record, not about a file from
// which one is made.
func (w *podWatch) isRecord(e fsnotify.Event) bool {
	name, ok := strings.CutSuffix(filepath.Base(e.Name), ".json")
	return ok && ipam.IsHostInterface(name) && e.Has(fsnotify.Create|fsnotify.Remove|fsnotify.Rename)
}

func (w *podWatch) say(err error) {
	logOnce(w.log, &w.said, err, "pods that come and go are not notified; they are looked for now and then")
}

package store

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// cacheEvery bounds how often the cache is written.
const cacheEvery = 5 * time.Second

// cacheWriter writes the newest state to a file, off the session's goroutine
// and not too often. The zero path writes nothing.
type cacheWriter struct {
	path   string
	log    *logrus.Entry
	kick   chan struct{}
	done   chan struct{}
	closed chan struct{}
	failed bool // the last write did; the writer's goroutine

	mu     sync.Mutex // guards latest
	latest *cacheState
}

func startCacheWriter(path string, log *logrus.Entry) *cacheWriter {
	w := &cacheWriter{path: path, log: log, kick: make(chan struct{}, 1), done: make(chan struct{}), closed: make(chan struct{})}
	go w.run()
	return w
}

func (w *cacheWriter) put(s cacheState) {
	w.mu.Lock()
	w.latest = &s
	w.mu.Unlock()
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// close writes what is left and waits for it.
func (w *cacheWriter) close() {
	close(w.done)
	<-w.closed
}

func (w *cacheWriter) run() {
	defer close(w.closed)
	for {
		select {
		case <-w.done:
			w.flush()
			return
		case <-w.kick:
		}
		// What is known when the dust has settled is worth more than the
		// first moment of it, and the start of the agent is not delayed.
		select {
		case <-w.done:
		case <-time.After(cacheEvery):
		}
		w.flush()
	}
}

func (w *cacheWriter) flush() {
	w.mu.Lock()
	s := w.latest
	w.latest = nil
	w.mu.Unlock()
	if s == nil || w.path == "" {
		return
	}
	b, err := s.encode()
	if err == nil {
		err = writeFile(w.path, b)
	}
	if err != nil && !w.failed {
		w.log.WithError(err).Warn("the snapshot cannot be cached; a reboot while etcd is down would find an older one")
	}
	w.failed = err != nil
}

// writeFile replaces a file so that a reader, or a crash, finds the old one
// or the new one, never a part.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".snapshot-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // nothing is there after the rename
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}

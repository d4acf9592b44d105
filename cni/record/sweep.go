package record

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/weft-net/weft/ipam"
)

// unfinished ends the name of a file that a record is made from.
const unfinished = ".new"

// Count returns the number of records, readable or not.
func Count(runDir string) (int, error) {
	n := 0
	err := each(runDir, func(e fs.DirEntry, _ string) error {
		if !strings.HasSuffix(e.Name(), unfinished) {
			n++
		}
		return nil
	})
	return n, err
}

// each calls fn for every record and every unfinished one, with the name of the
// host interface that it is of. A directory that is not there holds none.
func each(runDir string, fn func(e fs.DirEntry, hostInterface string) error) error {
	entries, err := os.ReadDir(Dir(runDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		name, ok := strings.CutSuffix(strings.TrimSuffix(e.Name(), unfinished), suffix)
		if ok && ipam.IsHostInterface(name) {
			errs = append(errs, fn(e, name))
		}
	}
	return errors.Join(errs...)
}

// Sweeper removes the records of attachments that are no more: of pods that went
// without a DEL, and what a plugin that was killed had not finished. It belongs
// to one goroutine, the agent's.
type Sweeper struct {
	runDir string
	// suspects are the files that looked abandoned at the last pass.
	suspects map[suspect]bool
}

// suspect is one file: one that was written again since is another.
type suspect struct {
	name     string
	inode    uint64
	modified int64 // Unix time, ns
}

// NewSweeper returns a sweeper for the records of a run directory.
func NewSweeper(runDir string) *Sweeper { return &Sweeper{runDir: runDir} }

// Pass removes the files whose attachments were gone at this pass and at the one
// before, and returns their names. The time between passes must be longer than
// an ADD takes. lives tells by the name of the host interface whether an
// attachment is there or has an address; whoever does not know must not call
// Pass. A file that a plugin replaces in the very moment of its removal is lost:
// what it describes is not, and the next ADD or DEL is none the worse.
func (w *Sweeper) Pass(lives func(hostInterface string) bool) (removed []string, err error) {
	abandoned := map[suspect]bool{}
	err = each(w.runDir, func(e fs.DirEntry, hostInterface string) error {
		if lives(hostInterface) {
			return nil
		}
		id, err := identify(e)
		switch {
		case errors.Is(err, os.ErrNotExist): // a DEL was faster
			return nil
		case err != nil:
			return err
		case !w.suspects[id]:
			abandoned[id] = true
			return nil
		}
		if err := os.Remove(filepath.Join(Dir(w.runDir), id.name)); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			abandoned[id] = true
			return err
		}
		removed = append(removed, id.name)
		return nil
	})
	w.suspects = abandoned
	return removed, err
}

func identify(e fs.DirEntry) (suspect, error) {
	info, err := e.Info()
	if err != nil {
		return suspect{}, err
	}
	id := suspect{name: e.Name(), modified: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		id.inode = sys.Ino
	}
	return id, nil
}

// Suspects is the number of files that the next pass removes if nothing is
// heard of their attachments until then.
func (w *Sweeper) Suspects() int { return len(w.suspects) }

package routing

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
)

const (
	// pollEvery is how often the files are looked at. They may be mounted
	// from elsewhere, where no notification comes.
	pollEvery = 2 * time.Second
	// patience is how long a file that was there may be gone or unreadable
	// before that counts: many tools replace files by deleting them first.
	patience = 10 * time.Second
	// fileLimit is the most that is read, in bytes.
	fileLimit = 1 << 20
)

// file is a file that is polled. What was last read counts until the file has
// been unreadable for a while.
type file struct {
	path string
	data []byte
	read bool      // data is what was once there
	lost time.Time // when it was first missed, zero while it is there
}

// poll returns the content, or why there is none.
func (f *file) poll(now time.Time) ([]byte, error) {
	data, err := readSmall(f.path)
	if err == nil {
		f.data, f.read, f.lost = data, true, time.Time{}
		return data, nil
	}
	if f.lost.IsZero() {
		f.lost = now
	}
	if f.read && now.Sub(f.lost) < patience {
		return f.data, nil
	}
	f.data, f.read = nil, false
	return nil, err
}

var errNotRegular = errors.New("not a regular file")

// readSmall reads a regular file; it does not wait for the writer of a pipe.
func readSmall(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", path, errNotRegular)
	}
	data, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	if err == nil && len(data) > fileLimit {
		err = fmt.Errorf("%s: larger than %d bytes", path, fileLimit)
	}
	return data, err
}

// ownFile is the node's own file of BGP objects. One that makes no sense leaves
// the last good one in force.
type ownFile struct {
	file   file
	parsed string // the content that objects and problem come from
	good   *fabric.BGP
	reason string // why the content is not in force
}

// poll returns the objects in force, nil for none, and what is wrong.
func (o *ownFile) poll(now time.Time) (*fabric.BGP, []fabric.Problem) {
	if o.file.path == "" {
		return nil, nil
	}
	data, err := o.file.poll(now)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		o.good, o.parsed, o.reason = nil, "", ""
	case err != nil:
		o.reason, o.parsed = err.Error(), ""
	case string(data) != o.parsed || o.good == nil && o.reason == "":
		o.take(data)
	}
	if o.reason == "" {
		return o.good, nil
	}
	reason := o.reason
	if o.good != nil {
		reason += "; what the file said before stays in force"
	}
	return o.good, []fabric.Problem{{Key: o.file.path, Reason: reason}}
}

func (o *ownFile) take(data []byte) {
	o.parsed, o.reason = string(data), ""
	objects, err := config.ParseBGPFile(o.file.path, data)
	if err != nil {
		o.reason = err.Error()
		return
	}
	o.good = objects
}

// secrets are the MD5 files that sessions name, by path.
type secrets map[string]*file

// poll reads the files at these paths and forgets all others. A file that is
// wrong costs only the sessions that name it.
func (s secrets) poll(paths map[string]bool, now time.Time) map[string]bgp.Credential {
	for path := range s {
		if !paths[path] {
			delete(s, path)
		}
	}
	out := map[string]bgp.Credential{}
	for path := range paths {
		if s[path] == nil {
			s[path] = &file{path: path}
		}
		data, err := s[path].poll(now)
		if err != nil {
			out[path] = bgp.Credential{Err: err.Error()}
			continue
		}
		out[path] = credential(path, data)
	}
	return out
}

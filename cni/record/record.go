// Package record keeps one small JSON file for each attachment
// (<runDir>/pods/<host interface>.json): whose it is, where its ends are, its
// labels and what was asked for. The plugin writes it at ADD and removes it at
// DEL; the agent, `weft pods` and, later, policies read it. It describes, it
// decides nothing: which address is whose is the slot files' word (package
// ipam), and a record that is lost or broken costs its description only.
package record

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/ipam"
)

// Version is the version that this build writes and the newest that it reads.
const Version = 1

// maxSize bounds a record's file, in bytes; labels are most of it.
const maxSize = 256 << 10

// Record describes one attachment.
type Record struct {
	Version   int    `json:"version"`
	Network   string `json:"network"` // the configuration's name
	Container string `json:"container"`
	Interface string `json:"interface"` // in the container
	// HostInterface is the other end of it and Bridge what that is a port of.
	HostInterface string `json:"hostInterface"`
	Bridge        string `json:"bridge"`
	// NetnsPath led to the container's namespace at ADD, NetnsInode is the
	// namespace's inode: a path may lead elsewhere by now.
	NetnsPath  string         `json:"netns,omitempty"`
	NetnsInode uint64         `json:"netnsInode,omitempty"`
	Addrs      []netip.Prefix `json:"addresses"` // with the subnets' lengths
	MAC        fabric.MAC     `json:"mac"`
	MTU        int            `json:"mtu"` // bytes
	// Guarded says that the container may send with no other address or MAC.
	Guarded  bool              `json:"guarded,omitempty"`
	Isolated bool              `json:"isolated,omitempty"`
	Hairpin  bool              `json:"hairpin,omitempty"`
	Pod      Pod               `json:"pod,omitzero"`
	Labels   map[string]string `json:"labels,omitempty"`
	Aliases  []string          `json:"aliases,omitempty"`
	// Trace is the caller's TRACEPARENT (W3C Trace Context), if it had one.
	Trace   string    `json:"trace,omitempty"`
	Created time.Time `json:"created"`
}

// Pod is what the runtime says of the pod. All fields may be empty.
type Pod struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
}

// String is NAMESPACE/NAME, or the name alone, or empty.
func (p Pod) String() string {
	if p.Namespace == "" {
		return p.Name
	}
	return p.Namespace + "/" + p.Name
}

// Attachment is whose record it is.
func (r *Record) Attachment() ipam.Attachment {
	return ipam.Attachment{Container: r.Container, Interface: r.Interface}
}

// Dir is where the records of a run directory are.
func Dir(runDir string) string { return filepath.Join(runDir, "pods") }

const suffix = ".json"

func path(runDir string, a ipam.Attachment) string {
	return filepath.Join(Dir(runDir), a.HostInterface()+suffix)
}

// Write puts a record in its place in one step.
func (r *Record) Write(runDir string) error {
	data := r.appendTo(make([]byte, 0, 512))
	if len(data) > maxSize {
		return fmt.Errorf("record of %s: %d bytes, at most %d fit", r.Attachment(), len(data), maxSize)
	}
	to := path(runDir, r.Attachment())
	tmp := to + unfinished
	err := create(tmp, data)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(Dir(runDir), 0o700); err == nil {
			err = create(tmp, data)
		}
	}
	if err == nil {
		err = syscall.Rename(tmp, to)
	}
	if err != nil {
		_ = syscall.Unlink(tmp) // a part of a file on a full disk
		return &os.PathError{Op: "write", Path: to, Err: err}
	}
	return nil
}

// create makes a file in three system calls; package os would make eight, and
// every pod waits for them.
func create(path string, data []byte) error {
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	n, err := syscall.Write(fd, data)
	if err == nil && n < len(data) {
		err = syscall.ENOSPC
	}
	return errors.Join(err, syscall.Close(fd))
}

// Read returns the record of an attachment; os.ErrNotExist if there is none.
func Read(runDir string, a ipam.Attachment) (*Record, error) {
	r, err := read(path(runDir, a))
	if err == nil && r.Attachment() != a {
		err = fmt.Errorf("%s: it is of %s", path(runDir, a), r.Attachment())
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Remove removes the record of an attachment, and what an ADD that was killed had
// written of it. None is not an error.
func Remove(runDir string, a ipam.Attachment) error {
	var errs []error
	for _, name := range []string{path(runDir, a), path(runDir, a) + unfinished} {
		// Not os.Remove, which tries a directory next.
		if err := syscall.Unlink(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, &os.PathError{Op: "unlink", Path: name, Err: err})
		}
	}
	return errors.Join(errs...)
}

// List returns every record that can be read, and the errors of the others.
func List(runDir string) ([]*Record, error) {
	entries, err := os.ReadDir(Dir(runDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []*Record
	var errs []error
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok || !ipam.IsHostInterface(name) {
			continue
		}
		r, err := read(filepath.Join(Dir(runDir), e.Name()))
		switch {
		case errors.Is(err, os.ErrNotExist): // a DEL was faster
		case err != nil:
			errs = append(errs, err)
		case r.Attachment().HostInterface() != name:
			errs = append(errs, fmt.Errorf("%s: it is of %s", e.Name(), r.Attachment()))
		default:
			out = append(out, r)
		}
	}
	return out, errors.Join(errs...)
}

func read(path string) (*Record, error) {
	// A pipe, whoever made one, would keep the agent waiting for its other end.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, cmp.Or(err, fmt.Errorf("%s: not a regular file", path))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, err
	}
	r, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// parse decodes and checks a record.
func parse(data []byte) (*Record, error) {
	if len(data) > maxSize {
		return nil, fmt.Errorf("more than %d bytes are no record", maxSize)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	if r.Version < 1 || r.Version > Version {
		return nil, fmt.Errorf("version %d is not one this build reads (1 to %d)", r.Version, Version)
	}
	return &r, r.Attachment().Check()
}

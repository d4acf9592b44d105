package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// stateRoot holds one directory per lab.
const stateRoot = "/run/weft-lab"

// stateFile is the record's name in the lab's directory.
const stateFile = "lab.json"

// state is the record of a lab, so that another process can look at it, use
// it and take it down.
type state struct {
	Name     string    `json:"name"`
	Owner    processID `json:"owner"`
	Stay     bool      `json:"stay"` // it outlives its owner
	Created  time.Time `json:"created"`
	Topology Topology  `json:"topology"`
	Binaries Binaries  `json:"binaries"`
	// Processes by name: "etcd1", "weftd h1".
	Processes map[string]processID `json:"processes,omitempty"`
	Pods      map[string]podState  `json:"pods,omitempty"`
}

// podState is what is known of an attached pod.
type podState struct {
	Host  string       `json:"host"`
	Addrs []netip.Addr `json:"addrs"`
}

func labDir(name string) string { return filepath.Join(stateRoot, name) }

// abandoned reports whether nobody will take the lab down any more.
func (s *state) abandoned() bool { return !s.Stay && !s.Owner.alive() }

// write replaces the record in one step.
func (s *state) write() error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(labDir(s.Name), stateFile)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// readState reads the record of a lab.
func readState(name string) (*state, error) {
	data, err := os.ReadFile(filepath.Join(labDir(name), stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no lab %q", name)
	}
	if err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(labDir(name), stateFile), err)
	}
	return &s, nil
}

// claim makes the lab's directory and its first record. The name must be free.
func claim(s *state) error {
	return lockedState(func() error {
		switch err := os.Mkdir(labDir(s.Name), 0o755); {
		case errors.Is(err, fs.ErrExist):
			return fmt.Errorf("there is a lab %q already (weft-lab down --name %s removes it)", s.Name, s.Name)
		case err != nil:
			return err
		}
		return s.write()
	})
}

// lockedState runs fn while no other process claims or sweeps labs.
func lockedState(fn func() error) error {
	if err := os.MkdirAll(stateRoot, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(stateRoot, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() // releases the lock
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return fn()
}

// Names lists the labs there are.
func Names() ([]string, error) {
	entries, err := os.ReadDir(stateRoot)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

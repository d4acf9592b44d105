package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// sysctlRoot shows, below net, the namespace of the thread that opens a file.
const sysctlRoot = "/proc/sys/"

// readSysctls learns the wanted sysctls' values. One that is not there, as its
// device or IPv6 is not, is not present and fails when it is written.
func (s *state) readSysctls() {
	for i := range s.sysctls.entries {
		e := &s.sysctls.entries[i]
		if e.wanted {
			s.askSysctl(e.key)
		}
	}
}

func (s *state) askSysctl(path string) {
	if v, err := readSysctl(path); err == nil {
		s.sysctls.setActual(path, v)
	} else {
		s.sysctls.dropActual(path)
	}
}

// forgetSysctls lets go of those that are not wanted any more: they keep the
// value they have.
func (s *state) forgetSysctls() {
	for _, i := range s.sysctls.dirty {
		if e := &s.sysctls.entries[i]; !e.wanted {
			s.sysctls.dropActual(e.key)
		}
	}
}

func readSysctl(path string) (string, error) {
	b, err := os.ReadFile(sysctlRoot + path)
	return strings.TrimSpace(string(b)), err
}

// writeSysctl sets one.
func (s *state) writeSysctl(slot int32) error {
	e := &s.sysctls.entries[slot]
	if err := os.WriteFile(sysctlRoot+e.key, []byte(e.want), 0o644); err != nil {
		var detail *fs.PathError
		if errors.As(err, &detail) {
			err = detail.Err // the path is the object's name already
		}
		return fmt.Errorf("set to %s: %w", e.want, err)
	}
	return nil
}

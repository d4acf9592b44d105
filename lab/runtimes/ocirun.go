package runtimes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// OCIRuntimeEnv is set where this program is to be the machine's runc: main
// then calls OCIRuntime and nothing else.
const OCIRuntimeEnv = "WEFT_RUNTIMES_RUNC"

// wrapper is where a machine's runtimes find their runc. They tell it which
// limits a container shall have; raising one, or being spared by the OOM
// killer, takes CAP_SYS_RESOURCE, and a share of a processor a controller,
// which root of a test machine need not have. Networking depends on none of
// them, so containers go without.
const wrapper = "/opt/weft/runc"

// wrap installs the wrapper. Of runc's commands only those that read a
// container's config.json need it.
func (m *Machine) wrap() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return err
	}
	return m.write(wrapper, fmt.Sprintf(`#!/bin/sh
for word; do
	case $word in create | run) exec env %s=%s %s "$@" ;; esac
done
exec %s "$@"
`, OCIRuntimeEnv, runc, self, runc), 0o755)
}

// OCIRuntime takes the limits out of the container's config.json and becomes
// the runc that the environment names, with the same arguments. It returns
// only if that fails.
func OCIRuntime() error {
	bundle := "."
	for i, arg := range os.Args {
		if value, ok := strings.CutPrefix(arg, "--bundle="); ok {
			bundle = value
		} else if (arg == "--bundle" || arg == "-b") && i+1 < len(os.Args) {
			bundle = os.Args[i+1]
		}
	}
	if err := unlimit(filepath.Join(bundle, "config.json")); err != nil {
		return err
	}
	runc := os.Getenv(OCIRuntimeEnv)
	if err := os.Unsetenv(OCIRuntimeEnv); err != nil {
		return err
	}
	return unix.Exec(runc, append([]string{runc}, os.Args[1:]...), os.Environ())
}

// unlimit takes the limits out of a config.json (OCI runtime-spec, config.md).
func unlimit(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var spec map[string]any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // what is not understood stays as it is
	if err := decoder.Decode(&spec); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	process, isProcess := spec["process"].(map[string]any)
	linux, isLinux := spec["linux"].(map[string]any)
	if !isProcess || !isLinux {
		return errors.New(path + " is not that of a container")
	}
	delete(process, "rlimits")
	delete(process, "oomScoreAdj")
	delete(linux, "resources")
	if data, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

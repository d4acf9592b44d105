package house

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSetup runs scripts/setup with stand-ins for Debian's programs: a test
// cannot install packages. iproute2 is installed, no other is. No server that
// comes with a package may be left running.
func TestSetup(t *testing.T) {
	// It must not remove what somebody has instead.
	const install = "apt-get install -q -y --no-install-recommends --no-remove -o DPkg::Lock::Timeout=300 "
	for _, tt := range []struct {
		name, uid string
		args      []string
		calls     []string
		says      string
	}{
		{"nothing is missing", "0", []string{"iproute2"}, nil, ""},
		{"root installs what is missing, once", "0", []string{"iproute2", "etcd-server"}, []string{
			"apt-get update -q",
			install + "etcd-server",
			"systemctl disable etcd.service",
		}, "installing etcd-server\n"},
		{"one of two is enough", "0", []string{"runc/iproute2"}, nil, ""},
		{"the first of two is installed", "0", []string{"runc/crun", "podman"}, []string{
			"apt-get update -q",
			install + "runc podman",
			"systemctl disable podman.socket",
			"systemctl disable podman.service",
			"systemctl disable podman-restart.service",
			"systemctl disable podman-auto-update.service",
			"systemctl disable podman-auto-update.timer",
		}, "installing runc podman\n"},
		{"others are told", "1000", []string{"iproute2", "etcd-server"}, nil,
			"these Debian packages are missing and cannot be installed here: etcd-server\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			log := filepath.Join(dir, "log")
			for name, script := range map[string]string{
				"dpkg-query": `case " $* " in *" iproute2 "*) echo "install ok installed" ;; esac`,
				"apt-get":    `echo "apt-get $*" >> ` + log,
				"systemctl":  `[ "$1" = stop ] || echo "systemctl $*" >> ` + log,
				"id":         `echo ` + tt.uid,
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/bash\n"+script+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(filepath.Join(root, "scripts/setup"), tt.args...)
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != tt.says {
				t.Errorf("setup: %v, %q; want %q", err, out, tt.says)
			}
			data, err := os.ReadFile(log)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			calls := strings.Split(strings.TrimSpace(string(data)), "\n")
			if len(data) == 0 {
				calls = nil
			}
			if diff := cmp.Diff(tt.calls, calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

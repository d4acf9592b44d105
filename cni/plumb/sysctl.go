package plumb

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ifnameMark stands for the pod's interface in a key, as in the tuning plugin.
const ifnameMark = "IFNAME"

// SysctlPath is the file of a sysctl below /proc/sys. A key is written as for
// sysctl(8): with dots, or with slashes where a name in it has dots itself. Only
// what belongs to a network namespace can be set, which is below net.
func SysctlPath(key, iface string) (string, error) {
	sep := "."
	if at := strings.IndexAny(key, "./"); at >= 0 {
		sep = key[at : at+1]
	}
	parts := strings.Split(key, sep)
	if len(parts) < 2 || parts[0] != "net" {
		return "", fmt.Errorf("sysctl %q: only those of the network can be set, net.*", key)
	}
	for i, part := range parts {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "/\x00") {
			return "", fmt.Errorf("sysctl %q: %q is no name", key, part)
		}
		parts[i] = strings.ReplaceAll(part, ifnameMark, iface)
	}
	return "/proc/sys/" + strings.Join(parts, "/"), nil
}

// setSysctls sets the pod's. The calling thread must be in the pod's namespace:
// what /proc/sys/net shows depends on who looks (net/sysctl_net.c). In the order
// of their names, so that what is set for all does not undo what is set for one.
func (p *Pod) setSysctls() error {
	keys := make([]string, 0, len(p.Sysctls))
	for key := range p.Sysctls {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		path, err := SysctlPath(key, p.Interface)
		if err == nil {
			err = writeSysctl(path, p.Sysctls[key])
		}
		if err != nil {
			return fmt.Errorf("sysctl %s=%s: %w", key, p.Sysctls[key], err)
		}
	}
	return nil
}

func writeSysctl(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}

package plumb

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ifnameMark stands for the pod's interface in a key, as in the tuning plugin.
const ifnameMark = "IFNAME"

// sysctlPath is the file of a sysctl below /proc/sys. A name that has dots
// itself, as that of an interface may, can only be written as IFNAME. Nothing
// but what belongs to a network namespace can be set, which is below net.
func sysctlPath(key, iface string) (string, error) {
	parts := strings.Split(key, ".")
	if len(parts) < 2 || parts[0] != "net" {
		return "", errors.New("only those of the network can be set, net.*")
	}
	for i, part := range parts {
		if part == "" || strings.ContainsAny(part, "/\x00") {
			return "", fmt.Errorf("%q is no name", part)
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
		path, err := sysctlPath(key, p.Interface)
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

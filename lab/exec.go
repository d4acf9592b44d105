package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Exec replaces this process by a command on a host, in a pod, or in any
// other part of the lab (a switch by its name, "outside", "etcd1"). On a host
// `weft` finds its agent. It returns only if that fails.
func (l *Lab) Exec(where string, argv []string) error {
	env := append(os.Environ(), "PATH="+filepath.Dir(l.bin.Weft)+":"+os.Getenv("PATH"))
	name := where
	if l.Pod(where) != nil {
		name = "pod-" + where
	} else if h := l.Host(where); h != nil {
		env = append(env, "WEFT_CONFIG="+h.ConfigFile())
	} else if s := l.Switch(where); s != nil {
		name = s.Spec.spaceName(s.isToR())
	}
	space, err := netns.GetFromName(l.namespaceName(name))
	if err != nil {
		return fmt.Errorf("lab %s has no host or pod %q (there are %s)", l.Name, where, strings.Join(l.places(), ", "))
	}
	_ = os.Setenv("PATH", filepath.Dir(l.bin.Weft)+":"+os.Getenv("PATH"))
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread() // exec keeps the namespace of the calling thread
	if err := netns.Set(space); err != nil {
		return fmt.Errorf("enter %s: %w", where, err)
	}
	return fmt.Errorf("%s: %w", path, unix.Exec(path, argv, env))
}

// places are the names that Exec knows best.
func (l *Lab) places() []string {
	var out []string
	for _, h := range l.Hosts {
		out = append(out, h.Spec.Name)
	}
	for _, p := range l.Pods() {
		out = append(out, p.Name)
	}
	return out
}

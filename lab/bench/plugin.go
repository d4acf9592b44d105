package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/weft-net/weft/lab"
)

// pluginsDir is where Debian's containernetworking-plugins are.
const pluginsDir = "/usr/lib/cni"

// comparison is of the attachment of a pod by weft with that by the reference
// bridge plugin and host-local. Each figure is the median of an ADD.
type comparison struct {
	weft, reference       time.Duration
	weftCPU, referenceCPU time.Duration // of the plugin and what it starts
}

// attacher is one way to attach pods on one host.
type attacher struct {
	host       *lab.Host
	path, conf string
	took       []cost // by each ADD that counts
}

// cost is what one run of a program took.
type cost struct{ wall, cpu time.Duration }

// weftAttacher attaches with weft's plugin, as the agent on the host wants it.
func weftAttacher(bin lab.Binaries, h *lab.Host) *attacher {
	return &attacher{host: h, path: bin.CNI, conf: fmt.Sprintf(`{"cniVersion":"1.0.0","name":"weft","type":"weft","runDir":%q}`, h.RunDir())}
}

// referenceAttacher attaches with the reference plugins to a bridge of their own.
func referenceAttacher(l *lab.Lab, h *lab.Host) (*attacher, error) {
	a := &attacher{host: h, path: filepath.Join(pluginsDir, "bridge"), conf: fmt.Sprintf(
		`{"cniVersion":"1.0.0","name":"ref","type":"bridge","bridge":"cni0","isGateway":true,"ipam":{"type":"host-local","dataDir":%q,"ranges":[[{"subnet":"10.255.0.0/20"}]],"routes":[{"dst":"0.0.0.0/0"}]}}`,
		filepath.Join(l.Dir(), "host-local"))}
	if _, err := os.Stat(a.path); err != nil {
		return nil, fmt.Errorf("the reference plugins (containernetworking-plugins): %w", err)
	}
	return a, nil
}

// compare measures both plugins on the lab's first host, one pod at a time and in
// turn.
func compare(ctx context.Context, bin lab.Binaries, l *lab.Lab, rounds int) (c comparison, err error) {
	weft := weftAttacher(bin, l.Hosts[0])
	ref, err := referenceAttacher(l, l.Hosts[0])
	if err == nil {
		err = alternate(ctx, rounds, weft, ref)
	}
	if err != nil {
		return c, err
	}
	c.weft, c.weftCPU = weft.medians()
	c.reference, c.referenceCPU = ref.medians()
	return c, nil
}

// alternate has each attacher attach and detach once in each round.
func alternate(ctx context.Context, rounds int, attachers ...*attacher) error {
	for i := range rounds + 1 {
		for _, a := range attachers {
			if err := a.once(ctx, fmt.Sprintf("bench-%d", i)); err != nil {
				return err
			}
			if i == 0 {
				a.took = nil // the first makes bridges and files
			}
		}
	}
	return nil
}

// once attaches and detaches one namespace, and notes what ADD took.
func (a *attacher) once(ctx context.Context, id string) error {
	pod, err := a.host.Scratch()
	if err != nil {
		return err
	}
	c, err := a.call(ctx, "ADD", id, pod.Path())
	a.took = append(a.took, c)
	_, delErr := a.call(ctx, "DEL", id, pod.Path())
	return errors.Join(err, delErr, pod.Remove())
}

// call runs the plugin once.
func (a *attacher) call(ctx context.Context, verb, id, netns string) (cost, error) {
	cmd := exec.CommandContext(ctx, a.path)
	cmd.Env = []string{
		"CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + id, "CNI_NETNS=" + netns, "CNI_IFNAME=eth0",
		"CNI_PATH=" + pluginsDir, "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
	}
	cmd.Stdin = bytes.NewReader([]byte(a.conf))
	return measure(a.host, cmd)
}

// measure runs a program on a host.
func measure(h *lab.Host, cmd *exec.Cmd) (cost, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := h.Start(cmd); err != nil {
		return cost{}, err
	}
	err := cmd.Wait()
	wall := time.Since(began)
	if err != nil {
		return cost{}, fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, bytes.TrimSpace(out.Bytes()))
	}
	return cost{wall: wall, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, nil
}

// medians are those of the times and of the processor times, each for itself.
func (a *attacher) medians() (wall, cpu time.Duration) {
	var walls, cpus []time.Duration
	for _, c := range a.took {
		walls, cpus = append(walls, c.wall), append(cpus, c.cpu)
	}
	return median(walls), median(cpus)
}

func median(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(times))[len(times)/2]
}

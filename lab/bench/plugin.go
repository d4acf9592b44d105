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

// Plugin compares the attachment of a pod by weft with that by the reference
// bridge plugin and host-local, one at a time and alternating.
type Plugin struct {
	Rounds            int
	Weft, Reference   time.Duration // median time of an ADD
	WeftP90, ReferP90 time.Duration
}

// attacher is one way to attach.
type attacher struct {
	path, conf string
	times      []time.Duration
}

func plugin(ctx context.Context, bin lab.Binaries, rounds int) (Plugin, error) {
	p := Plugin{Rounds: rounds}
	err := withPeers(ctx, bin, []lab.HostSpec{{Name: "h1"}}, 0, func(l *lab.Lab) error {
		h := l.Hosts[0]
		if _, err := startMeasured(ctx, h); err != nil {
			return err
		}
		weft := &attacher{path: bin.CNI, conf: fmt.Sprintf(`{"cniVersion":"1.0.0","name":"weft","type":"weft","runDir":%q}`, h.RunDir())}
		ref := &attacher{path: filepath.Join(pluginsDir, "bridge"), conf: fmt.Sprintf(
			`{"cniVersion":"1.0.0","name":"ref","type":"bridge","bridge":"cni0","isGateway":true,"ipam":{"type":"host-local","dataDir":%q,"ranges":[[{"subnet":"10.255.0.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}`,
			filepath.Join(l.Dir(), "host-local"))}
		if _, err := os.Stat(ref.path); err != nil {
			return fmt.Errorf("the reference plugins (containernetworking-plugins): %w", err)
		}
		for i := range rounds + 1 { // the first makes bridges and files
			for _, a := range []*attacher{weft, ref} {
				if err := a.once(ctx, h, fmt.Sprintf("bench-%d", i)); err != nil {
					return err
				}
			}
		}
		p.Weft, p.WeftP90 = weft.summary()
		p.Reference, p.ReferP90 = ref.summary()
		return nil
	})
	return p, err
}

// once attaches and detaches one namespace, and notes how long ADD took.
func (a *attacher) once(ctx context.Context, h *lab.Host, id string) error {
	pod, err := h.Scratch()
	if err != nil {
		return err
	}
	began := time.Now()
	err = a.call(ctx, h, "ADD", id, pod.Path())
	a.times = append(a.times, time.Since(began))
	return errors.Join(err, a.call(ctx, h, "DEL", id, pod.Path()), pod.Remove())
}

func (a *attacher) call(ctx context.Context, h *lab.Host, verb, id, netns string) error {
	cmd := exec.CommandContext(ctx, a.path)
	cmd.Env = []string{"CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + id, "CNI_NETNS=" + netns, "CNI_IFNAME=eth0", "CNI_PATH=" + pluginsDir, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader([]byte(a.conf)), &out, &out
	if err := h.Start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(a.path), verb, err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}

// summary is the median and the 90th percentile, the first round left out.
func (a *attacher) summary() (median, p90 time.Duration) {
	t := slices.Sorted(slices.Values(a.times[1:]))
	return t[len(t)/2], t[len(t)*9/10]
}

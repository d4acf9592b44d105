package cni

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/containernetworking/cni/pkg/types/create"
)

// reference is where Debian's containernetworking-plugins puts them.
const reference = "/usr/lib/cni"

// BenchmarkAdd compares an ADD with that of the reference bridge plugin with
// host-local, one of each in turn. It reports both medians and their ratio, and
// the ratio of the processor time, which a busy machine disturbs less.
func BenchmarkAdd(b *testing.B) {
	if _, err := os.Stat(reference + "/bridge"); err != nil {
		b.Fatalf("needs the Debian package containernetworking-plugins: %v", err)
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the benchmark
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		b.Fatal(err)
	}
	w := newHost(b, "10.1.0.0/16")
	conf := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"ref","type":"bridge","bridge":"ref0","isGateway":true,
		"ipam":{"type":"host-local","dataDir":%q,"ranges":[[{"subnet":"10.2.0.0/16"}]],"routes":[{"dst":"0.0.0.0/0"}]}}`, b.TempDir())
	both := map[string]func(p *pod, command string) *exec.Cmd{
		"weft": func(p *pod, command string) *exec.Cmd {
			return w.command(call{command: command, id: p.id, netns: p.netns, version: "1.0.0"})
		},
		"bridge": func(p *pod, command string) *exec.Cmd {
			cmd := exec.Command(reference + "/bridge")
			cmd.Env = []string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + p.id, "CNI_NETNS=" + p.netns, "CNI_IFNAME=eth0", "CNI_PATH=" + reference}
			cmd.Stdin = bytes.NewBufferString(conf)
			return cmd
		},
	}
	times, cpu := map[string][]time.Duration{}, map[string]time.Duration{}
	pods := map[string]*pod{"weft": w.pod("bench-weft"), "bridge": w.pod("bench-bridge")}
	for b.Loop() {
		for name, command := range both {
			p := pods[name]
			start := time.Now()
			add := command(p, "ADD")
			out, err := add.Output()
			times[name] = append(times[name], time.Since(start))
			cpu[name] += add.ProcessState.UserTime() + add.ProcessState.SystemTime()
			if err == nil {
				_, err = create.Create("1.0.0", out)
			}
			if err == nil {
				out, err = command(p, "DEL").Output()
			}
			if err != nil {
				b.Fatalf("%s: %v: %s", name, err, out)
			}
		}
	}
	median := func(name string) float64 {
		slices.Sort(times[name])
		return float64(times[name][len(times[name])/2].Microseconds()) / 1000
	}
	b.ReportMetric(median("weft"), "weft-ms")
	b.ReportMetric(median("bridge"), "bridge-ms")
	b.ReportMetric(median("weft")/median("bridge"), "ratio")
	b.ReportMetric(float64(cpu["weft"])/float64(cpu["bridge"]), "cpu-ratio")
}

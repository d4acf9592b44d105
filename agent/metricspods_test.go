package agent

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/ipam"
)

// What pods have is counted by the files, whoever wrote them.
func TestPodsAreCounted(t *testing.T) {
	testns.New(t)
	a := &agent{log: quiet(), cfg: &config.Node{RunDir: t.TempDir()}}
	names := map[*prometheus.Desc]string{
		descPods: "pods", descAddresses: "addresses", descSwept: "swept", descDuplicate: "conflicts", descBroken: "broken",
	}
	collected := func() (out []string) {
		record := func(d *prometheus.Desc, v float64, labels ...string) {
			out = append(out, fmt.Sprintf("%v of %s: %v", labels, names[d], v))
			prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...) // panics where the labels are not the metric's
		}
		a.collectPods(record, record)
		slices.Sort(out)
		return out
	}
	want := []string{"[] of broken: 0", "[] of conflicts: 0", "[] of pods: 0", "[address] of swept: 0", "[record] of swept: 0"}
	if diff := cmp.Diff(want, collected()); diff != "" {
		t.Errorf("no files: -want +got:\n%s", diff)
	}
	slots, err := a.newSlots()
	if err != nil {
		t.Fatal(err)
	}
	r := podRecord("a")
	if _, err := slots.Allocate(context.Background(), ipam.Claim{Attachment: r.Attachment()}, prefixes("10.244.1.0/29", "fd00:1::/120")); err != nil {
		t.Fatal(err)
	}
	if err := r.Write(a.cfg.RunDir); err != nil {
		t.Fatal(err)
	}
	a.swept.records.Store(2)
	want = []string{
		"[10.244.1.0/29 free] of addresses: 4", "[10.244.1.0/29 in_use] of addresses: 1", // not its own, the gateway's, the broadcast address
		"[] of broken: 0", "[] of conflicts: 0", "[] of pods: 1", "[address] of swept: 0",
		"[fd00:1::/120 free] of addresses: 253", "[fd00:1::/120 in_use] of addresses: 1", "[record] of swept: 2",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, collected()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

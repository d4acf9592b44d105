package agent

import (
	"context"
	"time"

	"github.com/weft-net/weft/cni/record"
)

// The figures of this host's pods, read at the scrape.
var (
	descPods      = desc("weft_pods", "Interfaces of pods on this host that have a record.")
	descAddresses = desc("weft_addresses", "Addresses of this node's subnets by state: in_use, free (some of them for a short while not handed out again).", "subnet", "state")
	descSwept     = desc("weft_pods_swept_total", "What pods that went without a DEL left behind and the sweep took away: address, record.", "kind")
	descDuplicate = desc("weft_address_conflicts", "Addresses that a pod has and that are given to another.")
	descBroken    = desc("weft_pod_records_broken", "Records of pods that cannot be read.")
)

// scrapePatience bounds how long a scrape waits for a plugin that is at the
// slot files.
const scrapePatience = time.Second

// collectPods reads the directory of the records and the heads of the slot
// files: what that costs does not grow with the addresses in use. What cannot be
// read has no figure; the sweep says why.
func (a *agent) collectPods(gauge, counter emit) {
	if n, err := record.Count(a.cfg.RunDir); err == nil {
		gauge(descPods, float64(n))
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapePatience)
	defer cancel()
	if slots, err := a.newSlots(); err == nil {
		counts, _ := slots.Counts(ctx) // those of the files that can be read
		for _, u := range counts {
			switch {
			case !u.Closed:
				gauge(descAddresses, float64(u.InUse), u.Subnet.String(), "in_use")
				gauge(descAddresses, float64(u.Size-u.InUse), u.Subnet.String(), "free")
			case u.InUse > 0: // nothing of it is handed out
				gauge(descAddresses, float64(u.InUse), u.Subnet.String(), "in_use")
			}
		}
	}
	counter(descSwept, float64(a.swept.addresses.Load()), "address")
	counter(descSwept, float64(a.swept.records.Load()), "record")
	gauge(descDuplicate, float64(a.swept.conflicts.Load()))
	gauge(descBroken, float64(a.swept.broken.Load()))
}

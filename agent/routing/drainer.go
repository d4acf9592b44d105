package routing

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// reportEvery bounds how often a changed reason alone is written to etcd.
const reportEvery = 5 * time.Second

// drainer carries a drain out: it counts the packets that still come and tells
// the operator how far it is.
type drainer struct {
	log    *logrus.Entry
	report func(fabric.Drain)

	drain    drain
	traffic  *kernel.Traffic // nil: nothing is counted
	counted  []netip.Prefix
	reported *fabric.Drain
}

// drainRecord is the record that asks for this node's drain, nil for none.
func drainRecord(all map[string]fabric.Drain, node string) *fabric.Drain {
	if rec, there := all[node]; there {
		return &rec
	}
	return nil
}

// extra are the prefixes of the objects.
func extra(objects []fabric.BGPPrefix) []netip.Prefix {
	var out []netip.Prefix
	for _, o := range objects {
		out = append(out, o.Spec.Prefixes...)
	}
	return out
}

// follow takes the record, the node's extra prefixes, and those of its own pods,
// whose packets do not count as traffic from elsewhere.
func (d *drainer) follow(rec *fabric.Drain, prefixes, local []netip.Prefix, now time.Time) stage {
	was := d.drain.stage
	d.drain.follow(rec, now)
	if rec == nil {
		if was != staying {
			d.log.Info("drain is over; extra prefixes are announced again")
		}
		d.close()
		d.reported = nil
		return staying
	}
	reason := ""
	switch {
	case len(prefixes) == 0:
		d.drain.nothing()
		reason = "this node announces no extra prefix"
	case d.drain.stage >= withdrawn:
		reason = d.count(prefixes, local, now)
	}
	if d.drain.stage != was {
		d.log.WithField("state", d.drain.stage.String()).Info("drain")
	}
	d.tell(rec, reason, now)
	return d.drain.stage
}

// unrouted answers a record on a node that announces nothing at all.
func (d *drainer) unrouted(all map[string]fabric.Drain, node string, now time.Time) {
	d.follow(drainRecord(all, node), nil, nil, now)
}

// count looks at the traffic that still comes and says what is seen, in words.
func (d *drainer) count(prefixes, local []netip.Prefix, now time.Time) string {
	if !slices.Equal(prefixes, d.counted) {
		d.close()
	}
	if d.traffic == nil {
		traffic, err := kernel.NewTraffic(prefixes, local...)
		if err != nil {
			return "packets cannot be counted: " + err.Error()
		}
		d.traffic, d.counted = traffic, slices.Clone(prefixes)
		d.drain.restart(now)
	}
	packets, err := d.traffic.Packets()
	if err != nil {
		d.close()
		return "packets cannot be counted: " + err.Error()
	}
	d.drain.heard(packets, now)
	if d.drain.stage == withdrawn && packets > 0 {
		return fmt.Sprintf("%d packets came since, the last %s ago", packets, now.Sub(d.drain.last).Round(time.Second))
	}
	return ""
}

// tell hands on what the record should say when that is another thing than it
// was told before.
func (d *drainer) tell(rec *fabric.Drain, reason string, now time.Time) {
	next := fabric.Drain{Since: rec.Since, State: d.drain.stage.String(), Reason: reason, At: now}
	if last := d.reported; last != nil && last.Since.Equal(next.Since) && last.State == next.State {
		if last.Reason == next.Reason || now.Sub(last.At) < reportEvery {
			return
		}
	}
	d.reported = &next
	d.report(next)
}

// close ends the count.
func (d *drainer) close() {
	if d.traffic != nil {
		d.traffic.Close()
	}
	d.traffic, d.counted = nil, nil
}

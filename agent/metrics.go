package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/weft-net/weft/store"
)

// metrics are the agent's. What the loop and the store know is read at the
// scrape; only what happens in between is counted as it happens.
type metrics struct {
	registry *prometheus.Registry
	duration prometheus.Histogram
	requests *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "weft_reconcile_duration_seconds", Help: "Time of one reconcile round.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 8),
		}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "weft_etcd_requests_total", Help: "Requests to etcd by operation and result.",
		}, []string{"op", "result"}),
	}
	m.registry.MustRegister(m.duration, m.requests, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) request(op string, err error) {
	result := "ok"
	if err != nil {
		result = "error"
	}
	m.requests.WithLabelValues(op, result).Inc()
}

// The figures read at the scrape.
var (
	descReady     = desc("weft_ready", "1 while the kernel holds what it should.")
	descPeers     = desc("weft_peers", "Other nodes by state: desired, programmed, failed; alive, down, held.", "state")
	descFailed    = desc("weft_failed_objects", "Kernel objects that could not be put in place in the last round.")
	descConflicts = desc("weft_conflicts", "Wanted kernel objects whose place somebody else's object holds.")
	descProblems  = desc("weft_problem_records", "Records in etcd that are not acted upon.")
	descRevision  = desc("weft_snapshot_revision", "etcd revision of the snapshot in force.")
	descAge       = desc("weft_snapshot_age_seconds", "Time since etcd last confirmed the snapshot.")
	descRepaired  = desc("weft_drift_repaired_total", "Kernel objects put right after somebody else changed them.", "kind")
	descWrites    = desc("weft_netlink_messages_total", "Netlink requests that change something.")
	descLease     = desc("weft_lease_state", "1 for the state that the lease is in.", "state")
	descConnected = desc("weft_etcd_connected", "1 while etcd answers.")
	descHold      = desc("weft_hold", "Peers and objects whose mass disappearance is held back.", "kind")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe implements prometheus.Collector; the figures are unchecked.
func (a *agent) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (a *agent) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	ready, _ := a.ready()
	gauge(descReady, number(ready))
	if s := a.loop.summary.Load(); s != nil {
		failed := min(s.desired, s.lacking+s.pathless)
		gauge(descPeers, float64(s.desired), "desired")
		gauge(descPeers, float64(s.desired-failed), "programmed")
		gauge(descPeers, float64(failed), "failed")
		gauge(descFailed, float64(len(s.report.Failed)))
		gauge(descConflicts, float64(len(s.report.Conflicts)))
		counter(descWrites, float64(s.writes))
		for kind, n := range a.repaired(s.repaired) {
			counter(descRepaired, float64(n), kind)
		}
	}
	etcd := a.session.Etcd()
	gauge(descConnected, number(etcd.Connected))
	gauge(descRevision, float64(etcd.Revision))
	if !etcd.Taken.IsZero() {
		gauge(descAge, time.Since(etcd.Taken).Seconds())
	}
	in := a.inbox.take()
	for _, state := range []store.LeaseState{store.Waiting, store.Leased, store.Exhausted, store.Refused, store.Fenced} {
		gauge(descLease, number(in.lease.State == state), string(state))
	}
	a.collectPeers(in, gauge)
	a.collectBGP(gauge, counter)
	a.collectPaths(gauge, counter)
	a.collectPods(gauge, counter)
	if in.snapshot != nil {
		collectMigration(in.snapshot, a.self.Name, gauge)
	}
}

func (a *agent) collectPeers(in inputs, gauge emit) {
	if in.snapshot == nil {
		return
	}
	alive, held := 0, 0
	for _, p := range in.snapshot.Peers {
		if p.ID == a.self.ID {
			continue
		}
		if p.Alive {
			alive++
		}
		if p.Held {
			held++
		}
	}
	gauge(descPeers, float64(alive), "alive")
	gauge(descPeers, float64(len(in.down)), "down")
	gauge(descPeers, float64(held), "held")
	objects := 0
	if h := in.snapshot.Hold; h != nil {
		objects = h.Objects
	}
	gauge(descHold, float64(held), "peers")
	gauge(descHold, float64(objects), "objects")
	gauge(descProblems, float64(len(in.snapshot.Problems)))
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

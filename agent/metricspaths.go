package agent

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
)

// The figures of paths and migrations, read at the scrape.
var (
	descPaths     = desc("weft_peer_paths", "Families of peers by the path in use; unreachable: the host is dead, none: there is no way.", "path")
	descSwitches  = desc("weft_path_switches_total", "Times that a family of a peer was given another path.")
	descReduced   = desc("weft_path_mtu_reduced", "Bytes that arrive by a path in use which drops packets of full size.", "peer", "family", "path")
	descProbes    = desc("weft_probes_total", "Probes of paths by result: answered, lost, unsent.", "result")
	descRequests  = desc("weft_probe_requests_total", "Probes of other nodes: answered, refused (not from a peer, or too many).", "result")
	descStrays    = desc("weft_probe_strays_total", "Answers to probes that were not asked, or by somebody else.")
	descWatched   = desc("weft_probe_paths", "Paths that are probed by what is known of them: unknown, answers, silent; reduced.", "state")
	descPhase     = desc("weft_migration_phase", "1 for the phase that the migration under way is in; none where there is no migration.", "phase")
	descPaused    = desc("weft_migration_paused", "1 while the migration under way is paused.")
	descMigrating = desc("weft_migration_peers", "This node's peers in the migration under way: moved, and all.", "state")
)

// mostReduced bounds how many paths have a figure of their own.
const mostReduced = 100

// pathWords are the values of the label path.
func pathWords() map[fabric.PathKind]string {
	return map[fabric.PathKind]string{
		fabric.PathDirect: "direct", fabric.PathBGP: "bgp", fabric.PathVXLAN: "vxlan", unreachable: "unreachable", "": "none",
	}
}

func (a *agent) collectPaths(gauge, counter emit) {
	s := a.loop.summary.Load()
	if s == nil || !s.known {
		return
	}
	for kind, path := range pathWords() {
		gauge(descPaths, float64(s.paths[kind]), path)
	}
	counter(descSwitches, float64(s.switches))
	for _, r := range a.reduced() {
		gauge(descReduced, float64(r.MTU), r.Peer, r.Family, r.Path)
	}
	stats := a.prober.Stats()
	counter(descProbes, float64(stats.Answered), "answered")
	counter(descProbes, float64(stats.Lost), "lost")
	counter(descProbes, float64(stats.Unsent), "unsent")
	counter(descRequests, float64(stats.Requests), "answered")
	counter(descRequests, float64(stats.Refused), "refused")
	counter(descStrays, float64(stats.Strays))
	gauge(descWatched, float64(stats.Unknown), "unknown")
	gauge(descWatched, float64(stats.Answering), "answers")
	gauge(descWatched, float64(stats.Silent), "silent")
	gauge(descWatched, float64(stats.Reduced), "reduced")
}

// reduced asks the loop for the paths in use that drop packets of full size, the
// first by name if there are many. A loop that is stuck is left alone.
func (a *agent) reduced() (out []api.Reduced) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if a.loop.ask(ctx, func() { out = a.loop.want.reduced() }) != nil {
		return nil
	}
	slices.SortFunc(out, func(a, b api.Reduced) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Family, b.Family), cmp.Compare(a.Path, b.Path))
	})
	return out[:min(len(out), mostReduced)]
}

// collectMigration reads how far a migration is. Where there is none, one figure
// says so, so that an alert can tell that from a node that says nothing.
func collectMigration(s *fabric.Snapshot, self string, gauge emit) {
	m := migrationStatus(s, self)
	if m == nil {
		gauge(descPhase, 1, "none")
		return
	}
	gauge(descPhase, 1, m.Phase)
	gauge(descPaused, number(m.Paused != ""))
	gauge(descMigrating, float64(m.Moved), "moved")
	gauge(descMigrating, float64(m.Total), "all")
}

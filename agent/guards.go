package agent

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/kernel"
)

// guardsEvery is the least time between two looks at the guards for the sake of
// notifications: every pod that goes takes its guard along, and is notified.
const guardsEvery = time.Second

// watchGuards has the sweep look at the guards of pods as soon as something is
// taken out of their table. Where nothing can be listened to it looks at them in
// every pass.
func (a *agent) watchGuards(ctx context.Context) error {
	w, err := kernel.NewTableWatch(unix.NFPROTO_BRIDGE, plumb.GuardTable)
	if err != nil {
		a.log.WithError(err).Warn("changes of the guards of pods are not notified; they are looked for now and then")
		<-ctx.Done()
		return nil
	}
	news := &pace{every: guardsEvery, call: func() { kick(a.guards) }}
	return w.Run(ctx, news.do)
}

// syncGuards puts back the guards that the pods' records ask for, and takes away
// those of ports that are gone.
func (s *sweeper) syncGuards() error {
	var records []*record.Record
	var wanted plumb.Wanted
	repair, err := plumb.SyncGuards(func() (_ plumb.Wanted, err error) {
		records, err = record.List(s.runDir)
		if err != nil && len(records) == 0 {
			return wanted, err
		}
		wanted = wantedGuards(records)
		return wanted, nil // a port whose record is broken keeps what it has
	})
	guarded := len(wanted.Guards) > 0
	if errors.Is(err, plumb.ErrNoGuard) && !guarded {
		return nil
	}
	if n := s.drifted(repair, records); n > 0 {
		s.swept.guards.Add(uint64(n))
		s.log.WithFields(logrus.Fields{"kind": kindGuard, "objects": n}).Warn("repaired what somebody else had changed")
	}
	s.guarded = s.guarded || err == nil && guarded
	return err
}

func wantedGuards(records []*record.Record) (w plumb.Wanted) {
	for _, r := range records {
		if r.Guarded {
			w.Guards = append(w.Guards, plumb.GuardOf(r.Attachment(), r.MAC, r.Addrs))
		} else {
			w.Unguarded = append(w.Unguarded, r.Attachment().HostInterface())
		}
	}
	return w
}

// drifted is how much of a repair was somebody else's doing. A pod that comes
// has a record before it has a guard, and one that goes has it for longer than
// its interface: what may be theirs does not count, nor does the table that the
// first pod brings.
func (s *sweeper) drifted(r plumb.Repair, records []*record.Record) int {
	if r.Added == 0 && !r.Rebuilt {
		return 0
	}
	host, err := plumb.ReadHost()
	if err != nil {
		return 0 // nothing is known to have been wrong
	}
	plugins := 0 // how many of them a plugin may be at work on
	for _, rec := range records {
		if !rec.Guarded {
			continue
		}
		now, err := record.Read(s.runDir, rec.Attachment())
		if err != nil || !host.Links[rec.HostInterface] || !now.Created.Equal(rec.Created) || time.Since(rec.Created) < confirmAfter {
			plugins++
		}
	}
	n := max(r.Added-plugins, 0)
	if r.Rebuilt && (s.guarded || n > 0) {
		n++
	}
	return n
}

// kindGuard is what a guard is called among the kinds of repaired objects.
const kindGuard = "guard"

// repaired adds the sweep's repairs to the loop's, by kind.
func (a *agent) repaired(byLoop map[string]uint64) map[string]uint64 {
	n := a.swept.guards.Load()
	if n == 0 {
		return byLoop
	}
	out := maps.Clone(byLoop)
	if out == nil {
		out = map[string]uint64{}
	}
	out[kindGuard] = n
	return out
}

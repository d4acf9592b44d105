package routing

import (
	"context"
	"time"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

// Foresight is what the speaker would do by another specification.
type Foresight struct {
	// Sessions and Ranges are how many there would be; Announced what this node
	// would announce.
	Sessions, Ranges int
	Announced        []bgp.Announcement
	Problems         []fabric.Problem
	// Reason says what must be known first, empty: nothing.
	Reason string
}

// Foresee is what the speaker would do if spec were the fabric's, now. It
// changes nothing. The error is that ctx ended first.
func (t *Task) Foresee(ctx context.Context, spec *fabric.Spec) (Foresight, error) {
	var out Foresight
	done := make(chan struct{})
	ask := func() { out = t.foresee(spec); close(done) }
	select {
	case t.asks <- ask:
	case <-ctx.Done():
		return Foresight{}, ctx.Err()
	}
	<-done
	return out, nil
}

func (t *Task) foresee(spec *fabric.Spec) Foresight {
	in := t.opt.Inputs()
	if in.Snapshot == nil {
		return Foresight{Reason: "etcd has not answered yet"}
	}
	with := *in.Snapshot
	with.Spec, in.Snapshot = spec, &with
	if reason := lacks(in); reason != "" {
		return Foresight{Reason: reason}
	}
	facts, problems := t.known(in, time.Now())
	wanted, more := bgp.Plan(facts)
	return Foresight{
		Sessions: len(wanted.Sessions), Ranges: len(wanted.Ranges), Announced: wanted.Announcements,
		Problems: append(problems, more...),
	}
}

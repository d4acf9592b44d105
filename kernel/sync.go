package kernel

import "errors"

// Report says what one Sync found and did.
type Report struct {
	Dumped   bool           // the tables were read anew
	Writes   int            // changes asked of the kernel; 0 where all was in place
	Repaired map[string]int // kind of object -> put right though nobody asked for a change
	// Failed is in the order in which objects are programmed, so that a cause
	// comes before its consequences; Conflicts are by object. What is in them
	// stays as it is and is tried again by the next Sync.
	Failed    []Failure
	Conflicts []Conflict
	InSync    bool // the kernel holds what is wanted and nothing of ours beyond it
}

// Failure is an object that the kernel does not hold as wanted.
type Failure struct {
	Kind   string // as in Report.Repaired
	Object string // in words, like `route 10.1.0.0/24 metric 158`
	Err    error
}

// Conflict is a wanted object in whose place, or in front of which, there is
// somebody else's; or one of ours that must go while others use it.
type Conflict struct {
	Object string // weft's
	Holder string // what stands there
}

const (
	// maxRounds bounds the plans of one Sync. One is the rule; another follows
	// when the kernel turned out to hold something else than it had said, or
	// when one change undid another.
	maxRounds = 4
	// maxDumps bounds the full dumps of one Sync.
	maxDumps = 3
)

// Sync makes the kernel hold what is wanted. The error says that the kernel
// could not be asked at all; what it refused is in the report.
func (h *Host) Sync() (Report, error) {
	r := newPass(h)
	err := r.rounds()
	if err == nil {
		err = h.drain()
	}
	if err != nil {
		h.Audit() // whatever was under way, its outcome is unknown
		h.waiter.rearm()
		return r.report, err
	}
	h.state.tidy()
	r.forget()
	r.conclude()
	h.settled = h.settled || r.report.InSync
	h.waiter.rearm()
	return r.report, nil
}

// pass is one Sync.
type pass struct {
	*Host
	report Report
	dumps  int
	done   int           // steps that the kernel accepted
	failed map[ref]error // of the last round
	mended map[ref]bool  // counted in report.Repaired
	// caused is set when a device or address was changed because that was
	// asked for: what the kernel drops with it is nobody's drift.
	caused bool
}

// ref names an entry.
type ref struct {
	kind kind
	slot int32
}

func newPass(h *Host) *pass { return &pass{Host: h, failed: map[ref]error{}} }

func (r *pass) rounds() error {
	for range maxRounds {
		clear(r.failed)
		before := r.done
		if err := r.refresh(); err != nil {
			return err
		}
		r.state.tidy()
		r.ops = plan(&r.state, r.ops[:0])
		if err := r.execute(r.ops); err != nil {
			return err
		}
		if err := r.drain(); err != nil {
			return err
		}
		r.state.tidy()
		r.stale = r.stale || r.unexplained()
		again := r.outdated() && r.dumps < maxDumps
		if progress := r.done > before; !again && (!progress || r.placed()) {
			return nil
		}
	}
	return nil
}

// outdated reports whether something must be read before the next plan.
func (r *pass) outdated() bool { return r.stale || r.staleNAT || r.staleSysctl }

// placed reports whether nothing is left to do.
func (r *pass) placed() bool {
	for k := range kinds {
		if len(r.state.table(k).pending()) > 0 {
			return false
		}
	}
	return true
}

// unexplained reports whether something is not in place though nothing was
// refused and nobody is in the way: what is known of the kernel is wrong.
func (r *pass) unexplained() bool {
	for k := range kinds {
		if k == masquerade && r.staleNAT {
			continue // not read yet
		}
		for _, slot := range r.state.table(k).pending() {
			if r.failed[ref{k, slot}] == nil && r.state.holder(k, slot) == "" {
				return true
			}
		}
	}
	return false
}

// refresh brings what is known of the kernel up to date and the devices up:
// the tables on them can only be read and planned when they are there.
func (r *pass) refresh() error {
	if err := r.drain(); err != nil {
		return err
	}
	if r.stale {
		if err := r.dumpLinks(); err != nil {
			return err
		}
	}
	r.state.tidy()
	r.ops = planLinks(&r.state, r.ops[:0])
	if err := r.execute(r.ops); err != nil {
		return err
	}
	if len(r.ops) > 0 {
		// Not every change of a device is notified (net/core/rtnetlink.c,
		// netdev_state_change is silent while it is down).
		if err := errors.Join(r.drain(), r.dumpLinks()); err != nil {
			return err
		}
	}
	if r.staleSysctl {
		r.staleSysctl = false
		r.state.readSysctls()
	}
	if r.staleNAT {
		r.staleNAT = false
		if err := r.readNAT(); err != nil {
			return err
		}
	}
	if !r.stale {
		return nil
	}
	r.stale = false
	r.dumps++
	r.report.Dumped = true
	if err := r.dumpRest(); err != nil {
		return err
	}
	return r.drain()
}

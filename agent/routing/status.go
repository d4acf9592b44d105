package routing

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

// The states of the task.
const (
	Starting     = "starting"
	Running      = "running"
	ShuttingDown = "shutting down"
	ShutDown     = "shut down"
)

// Status is what the rest of the agent may know of the task at any time. It is
// immutable.
type Status struct {
	Enabled  bool // the fabric routes, or is to by a migration
	State    string
	Reason   string // why it is not running as it should
	ASN      uint32
	RouterID netip.Addr
	// Sessions and Ranges are how many of them are configured.
	Sessions, Ranges int
	Announced        []bgp.Announcement
	Withheld         []bgp.Withheld
	Pending          []string // resets that wait for their turn
	Problems         []fabric.Problem
	Drain            *fabric.Drain
}

// Status is how the task is.
func (t *Task) Status() *Status { return t.status.Load() }

// Take hands out learnt routes, see speaker.Speaker. While the speaker is being
// shut down the routes stay as they are.
func (t *Task) Take(most int) (changes []bgp.Change, more bool) {
	s := t.speaker.Load()
	if s == nil || !t.Status().follows() {
		return nil, false
	}
	return s.Take(most)
}

// Again makes Take hand out everything anew.
func (t *Task) Again() {
	if s := t.speaker.Load(); s != nil {
		s.Again()
	}
}

// follows reports whether what the speaker learns is to reach the kernel.
func (s *Status) follows() bool {
	return s.Enabled && (s.State == Running || s.State == Starting)
}

// Synced reports whether the peers have told all of a family.
func (t *Task) Synced(f fabric.Family) bool {
	s := t.speaker.Load()
	return s != nil && s.Synced(f)
}

// Sessions are the sessions' states, by key.
func (t *Task) Sessions() []bgp.SessionStatus {
	if s := t.speaker.Load(); s != nil {
		return s.Sessions()
	}
	return nil
}

// Routes are the ways to a prefix, all where it is invalid.
func (t *Task) Routes(ctx context.Context, prefix netip.Prefix) ([]bgp.Path, error) {
	if s := t.speaker.Load(); s != nil {
		return s.Routes(ctx, prefix)
	}
	return nil, nil
}

// Match are the ways to the longest prefix that an address is in.
func (t *Task) Match(ctx context.Context, a netip.Addr) ([]bgp.Path, error) {
	if s := t.speaker.Load(); s != nil {
		return s.Match(ctx, a)
	}
	return nil, nil
}

// Advertised is what the far ends of sessions are told. The sessions are given
// by key, address or the object's name; empty: all.
func (t *Task) Advertised(ctx context.Context, name string) ([]bgp.Path, error) {
	if s := t.speaker.Load(); s != nil {
		return collect(ctx, s.Sessions(), name, s.Advertised)
	}
	return nil, nil
}

// Received is what the far ends told, see Advertised.
func (t *Task) Received(ctx context.Context, name string) ([]bgp.Path, error) {
	if s := t.speaker.Load(); s != nil {
		return collect(ctx, s.Sessions(), name, s.Received)
	}
	return nil, nil
}

// ErrNoSession says that no session has this name.
type ErrNoSession string

func (e ErrNoSession) Error() string { return fmt.Sprintf("no session is called %q", string(e)) }

func collect(ctx context.Context, sessions []bgp.SessionStatus, name string, ask func(context.Context, string) ([]bgp.Path, error)) ([]bgp.Path, error) {
	var out []bgp.Path
	found := name == ""
	for _, s := range sessions {
		if !called(s, name) {
			continue
		}
		found = true
		paths, err := ask(ctx, s.Key)
		if err != nil {
			return nil, fmt.Errorf("session %s: %w", s.Key, err)
		}
		for _, p := range paths {
			p.Session = s.Key
			out = append(out, p)
		}
	}
	if !found {
		return nil, ErrNoSession(name)
	}
	return out, nil
}

// called reports whether a session is meant by a name.
func called(s bgp.SessionStatus, name string) bool {
	object, _, _ := strings.Cut(s.Key, "/")
	return name == "" || name == s.Key || name == object || s.Address.IsValid() && name == s.Address.String()
}

// pending lists the resets that wait.
func pending(waiting []bgp.Waiting, t *turns) []string {
	var out []string
	for _, w := range waiting {
		what := "session " + w.Key
		if w.Key == bgp.Everything {
			what = "all sessions"
		}
		line := what + ": waits for its turn to be reset (" + strings.Join(w.Reasons, ", ") + ")"
		if t.failed != "" {
			line += "; " + t.failed
		}
		out = append(out, line)
	}
	return out
}

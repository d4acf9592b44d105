package routing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/backends/bgp/speaker"
)

const (
	// settle is the time between the withdrawal of everything and the end of
	// the sessions: switches have programmed it by then.
	settle = 2 * time.Second
	// shutdownMost bounds the end of the sessions.
	shutdownMost = 10 * time.Second
)

// stopping takes everything out of routing before the host goes down.
type stopping struct {
	stage   stage
	entered time.Time
	over    bool // the speaker is shut down
	result  error
	waiting []chan error
}

// begin starts it, or joins those who wait for it.
func (s *stopping) begin(done chan error, now time.Time) {
	if s.over {
		done <- s.result
		return
	}
	s.waiting = append(s.waiting, done)
	if s.stage == staying {
		s.stage, s.entered = leaving, now
	}
}

// advance goes on to the next stage in time.
func (s *stopping) advance(now time.Time) stage {
	if s.stage == leaving && now.Sub(s.entered) >= grace {
		s.stage, s.entered = withdrawn, now
	}
	return s.stage
}

// due reports whether the sessions should end: after the stages, or at once
// where there is nobody to be told.
func (s *stopping) due(now time.Time, listeners bool) bool {
	settled := s.stage == withdrawn && now.Sub(s.entered) >= settle
	return !s.over && s.stage != staying && (settled || !listeners)
}

func (s *stopping) finish(err error) {
	s.over, s.result = true, err
	for _, done := range s.waiting {
		done <- err
	}
	s.waiting = nil
}

var errStopped = errors.New("weftd stopped before the shutdown was done")

// fail tells those who wait that it will not be.
func (s *stopping) fail() {
	for _, done := range s.waiting {
		done <- errStopped
	}
	s.waiting = nil
}

// Shutdown makes the traffic leave this node, withdraws everything, ends the
// sessions and returns. The speaker does not come back in this life of the agent.
func (t *Task) Shutdown(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case t.stops <- done:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unplanned carries out a shutdown while nothing can be planned: at once, and
// where there is no speaker it is done already.
func (t *Task) unplanned(ctx context.Context) {
	if t.stop.stage == staying || t.stop.over {
		return
	}
	var err error
	if s := t.speaker.Load(); s != nil {
		err = t.shutdown(ctx, s)
	}
	t.stop.finish(err)
}

// shutdown ends the speaker, telling the peers.
func (t *Task) shutdown(ctx context.Context, s *speaker.Speaker) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownMost)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		return fmt.Errorf("BGP sessions did not end in order, peers may keep this node's routes for the restart time: %w", err)
	}
	t.opt.Log.Info("BGP is shut down; peers have no route of this node")
	return nil
}

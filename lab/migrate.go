package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"time"

	"github.com/weft-net/weft/fabric"
)

// Migration is how far the migration under way is, as `weft migrate status -o
// json` says.
type Migration struct {
	Migration *fabric.Migration                 `json:"migration"` // nil: none is under way
	Phase     string                            `json:"phase"`
	Waiting   []string                          `json:"waiting"`
	Left      map[string]string                 `json:"left"`    // why nodes take no part
	Unready   map[string]string                 `json:"unready"` // what is in the way of its end
	Nodes     int                               `json:"nodes"`
	Moved     int                               `json:"nodesMoved"`
	Peers     int                               `json:"peers"`
	PeersDone int                               `json:"peersMoved"`
	Reports   map[string]fabric.MigrationReport `json:"reports"`
}

// Pause is who stopped it and why; nil: it goes on.
func (m Migration) Pause() *fabric.Pause {
	if m.Migration == nil {
		return nil
	}
	return m.Migration.Pause
}

// String is short enough for an error.
func (m Migration) String() string {
	text := fmt.Sprintf("%s: %d of %d nodes, %d of %d peers", m.Phase, m.Moved, m.Nodes, m.PeersDone, m.Peers)
	if m.Migration == nil {
		return "no migration is under way"
	}
	if p := m.Migration.Pause; p != nil {
		text += fmt.Sprintf("; paused: %+v", *p)
	}
	for _, name := range m.Waiting {
		text += fmt.Sprintf("; %s: %q", name, m.Reports[name].Reason)
		for _, c := range m.Reports[name].Failed() {
			text += fmt.Sprintf(", %s failed: %s", c.Name, c.Text)
		}
	}
	return text
}

// Migrate begins a migration as an operator on the host would, and returns when
// it is on record. The words are those behind `weft migrate`.
func (h *Host) Migrate(ctx context.Context, words ...string) error {
	_, err := h.Weft(ctx, slices.Concat([]string{"migrate"}, words, []string{"--detach"})...)
	return err
}

// MigrateAndDie begins a migration with a command that follows it, and kills
// the command when the migration is on record.
func (h *Host) MigrateAndDie(ctx context.Context, words ...string) error {
	args := slices.Concat([]string{"migrate"}, words, []string{"--config", h.ConfigFile()})
	cmd := exec.Command(h.lab.bin.Weft, args...)
	if err := h.Start(cmd); err != nil {
		return err
	}
	err := h.lab.WaitMigration(ctx, "on record", func(m Migration) error {
		if m.Migration == nil {
			return errors.New("there is none")
		}
		return nil
	})
	err = errors.Join(err, cmd.Process.Kill())
	_ = cmd.Wait() // killed: that is its error
	return err
}

// Migration asks the first host whose command answers.
func (l *Lab) Migration(ctx context.Context) (m Migration, err error) {
	// The exit code says whether it is paused or refused, which is no error here.
	out, err := l.Hosts[0].Weft(ctx, "migrate", "status", "-o", "json")
	if out != "" {
		err = json.Unmarshal([]byte(out), &m)
	}
	return m, err
}

// WaitMigration waits, at most two minutes, until ok is content with the
// migration.
func (l *Lab) WaitMigration(ctx context.Context, what string, ok func(Migration) error) error {
	wait, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return await(wait, "the migration to be "+what, func() error {
		m, err := l.Migration(ctx)
		if err != nil {
			return err
		}
		if err := ok(m); err != nil {
			return fmt.Errorf("%w: %s", err, m)
		}
		return nil
	})
}

// WaitPhase waits, at most two minutes, until the migration is in a phase. One
// that pauses or is refused does not come to any other.
func (l *Lab) WaitPhase(ctx context.Context, phase string) error {
	var stopped error
	err := l.WaitMigration(ctx, phase, func(m Migration) error {
		switch {
		case m.Pause() != nil, m.Phase == fabric.PhaseRefused && phase != m.Phase:
			stopped = fmt.Errorf("the migration has stopped: %s", m)
			return nil
		case m.Phase != phase:
			return errors.New("it is not yet")
		}
		return nil
	})
	return errors.Join(err, stopped)
}

//go:build weft_without_migrations

package agent

import "github.com/weft-net/weft/fabric"

// An agent built with this tag is one of a version that knew no migrations: what
// such a one does in a fabric that moves is tested with it.

func features() []string { return nil }

func understood(s *fabric.Snapshot) *fabric.Snapshot {
	before := *s
	before.Migration, before.Reports = nil, nil
	return &before
}

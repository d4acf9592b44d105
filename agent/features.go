//go:build !weft_without_migrations

package agent

import "github.com/weft-net/weft/fabric"

// features are the abilities of this agent that others must know of.
func features() []string { return []string{fabric.FeatureMigrate} }

// understood is the snapshot as far as this agent knows what it says.
func understood(s *fabric.Snapshot) *fabric.Snapshot { return s }

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

// fileFlag adds -f to a command.
func fileFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("filename", "f", "", "file with objects in YAML or JSON, - for standard input")
}

// readObjects parses the file of -f.
func (a *app) readObjects(file string) ([]config.Object, error) {
	name, data, err := file, []byte(nil), error(nil)
	switch file {
	case "":
		return nil, usagef("no file is given, want -f FILE (or - for standard input)")
	case "-":
		name = "standard input"
		data, err = io.ReadAll(a.In)
	default:
		data, err = os.ReadFile(file)
	}
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		err = fmt.Errorf("%s: %w", name, pathErr.Err)
	}
	if err != nil {
		return nil, usagef("%w", err)
	}
	objects, err := config.ParseObjects(name, data)
	if err != nil {
		return nil, usagef("%w", err)
	}
	return objects, nil
}

// title is how an object is called in sentences, like "fabric prod".
func title(o config.Object) string {
	return strings.ToLower(o.Kind) + " " + o.Metadata.Name
}

// planned is an object on its way into the store.
type planned struct {
	config.Object
	was   []byte // as stored; nil: there is none
	will  []byte
	rev   int64 // of was
	lines []string
}

func (p planned) changes() bool { return len(p.lines) > 0 }

// plan compares objects with what is stored. Objects that do not change are
// not written, so that a file can be applied again and again.
func plan(ctx context.Context, s *store.Store, objects []config.Object) ([]planned, error) {
	var out []planned
	for _, o := range objects {
		p := planned{Object: o}
		var err error
		if p.was, p.rev, err = s.Get(ctx, o.Key()); err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, unreachable(err)
		}
		if p.will, err = o.Encode(); err != nil {
			return nil, err
		}
		p.lines = compare(p.was, p.will)
		out = append(out, p)
	}
	return out, nil
}

// check says why a plan cannot be carried out as things are, or nothing.
func check(plan []planned, snap *fabric.Snapshot) []string {
	var reasons []string
	for _, p := range plan {
		if !p.changes() {
			continue
		}
		if old, err := config.DecodeObject(p.was); err == nil && old.Metadata.Name != p.Metadata.Name {
			reasons = append(reasons, fmt.Sprintf("metadata.name: there is %s already, and a fabric has one %s", title(old), p.Kind))
		}
		if spec := p.Fabric(); spec != nil {
			reasons = append(reasons, config.CheckChange(snap.Spec, spec, leased(snap))...)
			reasons = append(reasons, config.CheckUnderlay(spec, snap.Peers)...)
		}
	}
	return reasons
}

// leased are all subnets on record, reservations included.
func leased(snap *fabric.Snapshot) []fabric.Subnet {
	all := append([]fabric.Subnet(nil), snap.Reservations...)
	for _, p := range snap.Peers {
		all = append(all, p.Subnets...)
	}
	return all
}

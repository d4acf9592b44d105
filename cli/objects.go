package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
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

// keyOfFabric is where the Fabric is stored.
const keyOfFabric = "fabric"

// title is how an object is called in sentences, like "fabric prod".
func title(o config.Object) string {
	return strings.ToLower(o.Kind) + " " + o.Metadata.Name
}

// check says why a plan cannot be carried out as things are, or nothing.
func check(plan []planned, before, after bgp.Objects, snap *fabric.Snapshot) []string {
	var reasons []string
	for _, p := range plan {
		if !p.changes() {
			continue
		}
		if kind, name := config.Head(p.was); p.spec != nil && name != "" && strings.ToLower(kind)+" "+name != p.title {
			reasons = append(reasons, fmt.Sprintf("metadata.name: there is %s %s already, and a fabric has one %s", strings.ToLower(kind), name, kind))
		}
		if p.spec != nil {
			moving := config.CheckMigration(snap.Migration, snap.Spec, p.spec)
			if reasons = append(reasons, moving...); len(moving) == 0 {
				reasons = append(reasons, config.CheckChange(snap.Spec, p.spec, leased(snap))...)
			}
			reasons = append(reasons, config.CheckUnderlay(p.spec, snap.Peers)...)
		}
	}
	for _, c := range newConflicts(before, after, snap.Peers) {
		reasons = append(reasons, conflictText(c, plan))
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

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/store"
)

func completeKinds(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	var words []string
	if len(given) == 0 {
		for _, k := range config.Kinds() {
			words = append(words, k.Words[0])
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// stored is an object as it was found.
type stored struct {
	config.Object
	store.Record
	unread error // why this version cannot read it; then it has a name at most
}

// findAll reads the objects of a kind that a command names; name "" stands for
// all.
func findAll(ctx context.Context, s *store.Store, k config.Kind, name string) ([]stored, error) {
	records, err := readKind(ctx, s, k)
	if err != nil {
		return nil, err
	}
	var out []stored
	for _, r := range records {
		o := stored{Record: r}
		o.Object, o.unread = config.DecodeObject(r.Value)
		if o.unread != nil {
			o.Kind = k.Name
			o.Metadata.Name = nameOf(k, r)
		}
		if !k.Many && name != "" && name != o.Metadata.Name {
			return nil, fmt.Errorf("there is no %s %s (its name is %s)", k.Words[0], name, o.Metadata.Name)
		}
		if name == "" || name == o.Metadata.Name {
			out = append(out, o)
		}
	}
	if len(out) == 0 && (name != "" || !k.Many) {
		return nil, notThere(k, name)
	}
	return out, nil
}

func notThere(k config.Kind, name string) error {
	return &failure{code: exitFailed, err: fmt.Errorf("there is no %s", strings.TrimSpace(k.Words[0]+" "+name)), hint: "weft apply -f FILE makes one"}
}

// nameOf is the name of an object that cannot be read: of those that there are
// many of, the key has it.
func nameOf(k config.Kind, r store.Record) string {
	if k.Many {
		return strings.TrimPrefix(r.Key, k.Key(""))
	}
	_, name := config.Head(r.Value)
	return name
}

func (a *app) getCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "get KIND [NAME]", Short: "Show objects of the fabric", Args: args("KIND", "[NAME]"),
		Long:    "Show objects of the fabric: all of a kind, or one by its name. Kinds are fabric,\nbgppeer, bgppolicy and bgpprefix. What -o yaml and -o json print can be applied.",
		Example: "  weft get fabric\n  weft get bgppeers -o yaml > peers.yaml", ValidArgsFunction: completeKinds,
	}
	f := formFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		kind, err := config.KindFor(given[0])
		if err != nil {
			return usagef("%w", err)
		}
		name := ""
		if len(given) > 1 {
			name = given[1]
		}
		return a.withStore(cmd.Context(), func(ctx context.Context, s *store.Store) error {
			objects, err := findAll(ctx, s, kind, name)
			if err != nil {
				return err
			}
			return a.printObjects(*f, kind, name, objects)
		})
	}
	return cmd
}

// printObjects shows objects of one kind. JSON and YAML are as stored, with
// what only newer versions know.
func (a *app) printObjects(f form, k config.Kind, name string, objects []stored) error {
	single := name != "" || !k.Many
	if len(objects) == 0 {
		fmt.Fprintf(a.Err, "note: there is no %s yet\n", k.Words[0])
	}
	switch f {
	case formJSON:
		return a.printJSONs(objects, single)
	case formYAML:
		for i, o := range objects {
			if i > 0 {
				a.printf("---\n")
			}
			if err := a.printJSON(f, o.Value); err != nil {
				return fmt.Errorf("%s: %w", o.Record.Key, err)
			}
		}
		return nil
	}
	var readable []stored
	for _, o := range objects {
		if o.unread == nil {
			readable = append(readable, o)
			continue
		}
		if single {
			return fmt.Errorf("%s: %w", o.Record.Key, o.unread)
		}
		fmt.Fprintf(a.Err, "note: %s counts for nothing: %v\n", o.Record.Key, o.unread)
	}
	return a.print(f, nil, func(wide bool) *table { return objectTable(k, readable, wide) })
}

// printJSONs prints one object, or a list of them.
func (a *app) printJSONs(objects []stored, single bool) error {
	if single {
		return a.printJSON(formJSON, objects[0].Value)
	}
	raw := []json.RawMessage{}
	for _, o := range objects {
		if !json.Valid(o.Value) {
			fmt.Fprintf(a.Err, "note: %s counts for nothing: it is not JSON\n", o.Record.Key)
			continue
		}
		raw = append(raw, o.Value)
	}
	all, err := json.Marshal(raw)
	if err != nil {
		return err
	}
	return a.printJSON(formJSON, all)
}

package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weft-net/weft/config"
)

// Terminal is what a command is connected to.
type Terminal struct {
	In       io.Reader
	Out, Err io.Writer
	Environ  []string // as os.Environ gives it
	Now      func() time.Time
	// Interactive says that Out is a terminal, where a line can be written over.
	Interactive bool
	// Interrupted returns a context that ends when the operator has seen enough
	// (^C), for commands that have something to say then; nil: there are no such.
	Interrupted func(context.Context) (context.Context, context.CancelFunc)
}

// Run executes one command line (without the program's name) and returns the
// exit code. It ends early when ctx does.
func Run(ctx context.Context, t Terminal, args []string) int {
	a := &app{Terminal: t}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(t.In)
	root.SetOut(t.Out)
	root.SetErr(t.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	f := asFailure(err)
	if f.err != nil {
		fmt.Fprintln(t.Err, "weft:", f.Error())
	}
	return f.code
}

// app is one run of the command line.
type app struct {
	Terminal
	flags *pflag.FlagSet // those of all commands
}

const rootHelp = `weft is the command line of a weft fabric.

Commands about the fabric talk to etcd, commands about this host to its
agent. Where these are is in the node's own file, ` + config.DefaultFile + `,
in WEFT_ variables (WEFT_ETCD_ENDPOINTS) or flags (--etcd-endpoints).

Exit codes:
  0  done
  1  refused or failed; the line on standard error says why
  2  the command line, the configuration or an object's file is wrong
  3  the answer is no: diff found differences, status a node not ready, peers one
     that cannot be reached, bgp peers a session down, bgp why a fault, migrate a
     check that fails; or migrate was ended before the migration, which goes on
  4  etcd or the agent cannot be asked`

func (a *app) root() *cobra.Command {
	root := group("weft", "Command line of a weft fabric", rootHelp)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%w", err) })
	a.flags = root.PersistentFlags()
	config.Flags(a.flags)
	// All of the agent's settings are accepted, so that one environment and
	// one set of flags serves both; those that find etcd and the agent show.
	a.flags.VisitAll(func(f *pflag.Flag) {
		f.Hidden = f.Name != "config" && f.Name != "run-dir" && !strings.HasPrefix(f.Name, "etcd-")
	})
	root.AddCommand(
		a.applyCommand(), a.diffCommand(), a.validateCommand(), a.getCommand(), a.deleteCommand(),
		a.statusCommand(), a.peersCommand(), a.podsCommand(), a.ipCommand(), a.nodesCommand(), a.leasesCommand(), a.bgpCommand(), a.migrateCommand(),
		a.leaseCommand(), a.nodeCommand(), a.holdCommand(),
		a.configCommand(), a.versionCommand(),
	)
	return root
}

// group is a command that only holds others.
func group(use, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			meant := ""
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				meant = fmt.Sprintf(" (did you mean %s?)", near[0])
			}
			return usagef("%q is not a command of %s%s; see `%s --help`", args[0], cmd.CommandPath(), meant, cmd.CommandPath())
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}

// args accepts exactly the arguments that are named, those in brackets being
// optional.
func args(names ...string) cobra.PositionalArgs {
	needed := slices.IndexFunc(names, func(n string) bool { return n[0] == '[' })
	if needed < 0 {
		needed = len(names)
	}
	return func(cmd *cobra.Command, got []string) error {
		switch {
		case len(got) < needed:
			return usagef("%s needs %s; see `%s --help`", cmd.CommandPath(), strings.Join(names[len(got):needed], " and "), cmd.CommandPath())
		case len(got) > len(names):
			return usagef("%s takes no argument %q; see `%s --help`", cmd.CommandPath(), got[len(names)], cmd.CommandPath())
		}
		return nil
	}
}

// config reads the node's configuration.
func (a *app) config() (*config.Node, error) {
	if err := config.CheckEnviron(a.Environ); err != nil {
		return nil, usagef("%w", err)
	}
	n, err := config.LoadClient(a.flags, a.lookupEnv)
	if err != nil {
		return nil, usagef("%w", err)
	}
	return n, nil
}

func (a *app) lookupEnv(name string) (string, bool) {
	for _, e := range slices.Backward(a.Environ) {
		if k, v, _ := strings.Cut(e, "="); k == name {
			return v, true
		}
	}
	return "", false
}

func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.Out, format, args...) }

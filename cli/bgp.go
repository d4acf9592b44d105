package cli

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/agent/api"
)

const bgpHelp = `What this host's BGP speaker does, and why a prefix cannot be reached.

A session is named by the BGPPeer object and the far end, like
tors/198.18.1.1; a part of that, the object's name or the address, names
all sessions that it fits.`

func (a *app) bgpCommand() *cobra.Command {
	cmd := group("bgp", "Commands about this host's BGP sessions and routes", bgpHelp)
	routes := fromAgent(a, query[[]api.BGPRoute]{
		use: "routes [PREFIX]", short: "List the routes that are known, and what the kernel holds",
		long: "List the routes that are known, and what the kernel holds. PREFIX may be an\naddress: its longest match.",
		args: []string{"[PREFIX]"}, check: prefixOrAddress,
		ask: func(ctx context.Context, c *api.Client, to string) ([]api.BGPRoute, error) {
			return c.BGPRoutes(ctx, to)
		},
		draw:  routesTable,
		empty: func(r []api.BGPRoute) bool { return len(r) == 0 }, nothing: "no route is known",
	})
	advertised := fromAgent(a, query[[]api.BGPRoute]{
		use: "advertised [SESSION]", short: "List what the far ends are told", args: []string{"[SESSION]"},
		ask: func(ctx context.Context, c *api.Client, session string) ([]api.BGPRoute, error) {
			return c.BGPAdvertised(ctx, session)
		},
		draw:  advertisedTable,
		empty: func(r []api.BGPRoute) bool { return len(r) == 0 }, nothing: "nothing is advertised there",
	})
	received := fromAgent(a, query[[]api.BGPRoute]{
		use: "received [SESSION]", short: "List what the far ends told, also what is kept out", args: []string{"[SESSION]"},
		ask: func(ctx context.Context, c *api.Client, session string) ([]api.BGPRoute, error) {
			return c.BGPReceived(ctx, session)
		},
		draw:  receivedTable,
		empty: func(r []api.BGPRoute) bool { return len(r) == 0 }, nothing: "nothing was received there",
	})
	cmd.AddCommand(a.bgpPeersCommand(), routes, advertised, received, a.bgpWhyCommand(), a.torConfigCommand(), a.bgpShutdownCommand())
	return cmd
}

// query is a command that asks the agent for a T and prints it.
type query[T any] struct {
	use, short, long string
	args             []string           // at most one
	check            func(string) error // of the argument
	ask              func(context.Context, *api.Client, string) (T, error)
	draw             func(data T, wide bool) *table
	empty            func(T) bool
	nothing          string // what an empty answer means
}

func fromAgent[T any](a *app, q query[T]) *cobra.Command {
	cmd := &cobra.Command{Use: q.use, Short: q.short, Long: q.long, Args: args(q.args...)}
	f := formFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		argument := ""
		if len(given) > 0 {
			argument = given[0]
		}
		if q.check != nil && argument != "" {
			if err := q.check(argument); err != nil {
				return err
			}
		}
		data, err := askAgent(cmd.Context(), a, func(ctx context.Context, c *api.Client) (T, error) { return q.ask(ctx, c, argument) })
		if err != nil {
			return err
		}
		if q.empty(data) {
			fmt.Fprintln(a.Err, "note:", q.nothing)
		}
		return a.print(*f, data, func(wide bool) *table { return q.draw(data, wide) })
	}
	return cmd
}

// askAgent asks the agent on this host.
func askAgent[T any](ctx context.Context, a *app, ask func(context.Context, *api.Client) (T, error)) (T, error) {
	var none T
	n, err := a.config()
	if err != nil {
		return none, err
	}
	out, err := ask(ctx, api.Dial(n.RunDir))
	if err != nil {
		return none, noAgent(err, n.RunDir)
	}
	return out, nil
}

// prefixOrAddress refuses what is neither.
func prefixOrAddress(text string) error {
	if _, err := netip.ParseAddr(text); err == nil {
		return nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return usagef("%q is neither a prefix nor an address (like 10.244.7.0/24 or 10.244.7.9)", text)
	}
	if p != p.Masked() {
		return usagef("%s has host bits set (did you mean %s?)", p, p.Masked())
	}
	return nil
}

func (a *app) bgpPeersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "peers", Short: "List this host's sessions and why some are down", Args: args(),
		Long: "List this host's sessions: state, for how long, routes accepted, kept out and\nadvertised. Below, in words, why those are down that are. Exits with 3 while a\nsession is down.",
	}
	f := formFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		b, err := askAgent(cmd.Context(), a, func(ctx context.Context, c *api.Client) (*api.BGP, error) { return c.BGP(ctx) })
		if err != nil {
			return err
		}
		if *f == formTable || *f == formWide {
			a.printf("%s", bgpText(b, a.Now(), *f == formWide))
		} else if err := a.print(*f, b, nil); err != nil {
			return err
		}
		if up, all := established(b.Sessions); b.Enabled && up < all {
			return answerNo()
		}
		return nil
	}
	return cmd
}

func (a *app) bgpWhyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "why PREFIX", Short: "Show at which station the way to a prefix ends", Args: args("PREFIX"),
		Long: "Show at which station the way to a prefix ends: whose lease it is, whether it is\nannounced, the sessions, what was received, which route is best, what the kernel\nholds, and whether the far end answers. The first fault is the cause. PREFIX may\nbe an address. Exits with 3 if there is a fault.",
	}
	f := formFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		if err := prefixOrAddress(given[0]); err != nil {
			return err
		}
		w, err := askAgent(cmd.Context(), a, func(ctx context.Context, c *api.Client) (*api.Why, error) { return c.BGPWhy(ctx, given[0]) })
		if err != nil {
			return err
		}
		if *f == formTable || *f == formWide {
			a.printf("%s", whyText(w, *f == formWide))
		} else if err := a.print(*f, w, nil); err != nil {
			return err
		}
		if fault(w) != nil {
			return answerNo()
		}
		return nil
	}
	return cmd
}

func (a *app) bgpShutdownCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "shutdown", Short: "Take this host out of routing, before it goes down", Args: args(),
		Long: "Take this host out of routing, before it goes down: its routes become the last\nchoice everywhere (RFC 8326), then they are withdrawn, then the sessions are\nclosed. Returns when that is done. Pods on this host lose their way to others,\nand nothing but a new start of weftd brings it back.",
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		before, err := askAgent(cmd.Context(), a, func(ctx context.Context, c *api.Client) (*api.BGP, error) {
			b, err := c.BGP(ctx)
			if err != nil {
				return nil, err
			}
			return b, c.BGPShutdown(ctx)
		})
		if err != nil {
			return err
		}
		up, _ := established(before.Sessions)
		a.printf("shut down: %s withdrawn, %s closed\n", count(announced(before), "route", "routes"), count(up, "session", "sessions"))
		fmt.Fprintln(a.Err, "note: `systemctl restart weftd` brings this host back")
		return nil
	}
	return cmd
}

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

// drainPoll is how often a drain's record is looked at: one small read. The
// node's agent writes it once a second at most.
const drainPoll = 500 * time.Millisecond

// stateQuiet is the last stage of a drain.
const stateQuiet = "quiet"

const drainHelp = `Move the traffic to a node's extra prefixes (BGPPrefix objects) elsewhere: the
node announces them as the last choice (RFC 8326), then withdraws them, then
waits until no packet to them has come for a while. Returns when that is so,
and says at every stage what was seen. Pods and their subnets stay where they
are.

The node stays drained, over restarts too, until ` + "`weft node undrain`" + `. Where the
time of --wait is not enough the command fails and the drain goes on; --wait 0
only asks for it.`

// drainCommands are those of `weft node` that move traffic away from a node.
func (a *app) drainCommands() []*cobra.Command {
	drain := &cobra.Command{
		Use: "drain NAME", Short: "Move the traffic to a node's extra prefixes elsewhere", Args: args("NAME"), Long: drainHelp,
	}
	wait := drain.Flags().Duration("wait", 5*time.Minute, "how long to wait until it is quiet; 0: not at all")
	drain.RunE = func(cmd *cobra.Command, given []string) error {
		if *wait < 0 {
			return usagef("--wait: %s is negative", *wait)
		}
		return a.withStoreFor(cmd.Context(), patience+*wait, func(ctx context.Context, s *store.Store) error {
			return a.drain(ctx, s, given[0], *wait)
		})
	}
	undrain := &cobra.Command{
		Use: "undrain NAME", Short: "Let a node announce its extra prefixes again", Args: args("NAME"),
	}
	undrain.RunE = func(cmd *cobra.Command, given []string) error {
		return a.withStore(cmd.Context(), func(ctx context.Context, s *store.Store) error {
			was, err := readDrain(ctx, s, given[0])
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return unreachable(err)
			}
			if err := noNode(given[0], s.Undrain(ctx, given[0])); err != nil {
				return err
			}
			if was == nil {
				a.printf("node %s: was not drained\n", given[0])
				return nil
			}
			a.printf("node %s: no longer drained\n", given[0])
			return nil
		})
	}
	return []*cobra.Command{drain, undrain}
}

func (a *app) drain(ctx context.Context, s *store.Store, name string, wait time.Duration) error {
	snap, err := s.View(ctx)
	if err != nil {
		return unreachable(err)
	}
	if snap.Spec == nil || snap.Spec.Backend != "bgp" {
		return &failure{code: exitFailed, err: fmt.Errorf("node %s: only a fabric whose backend is bgp has prefixes to drain", name)}
	}
	if err := noNode(name, s.Drain(ctx, name)); err != nil {
		return err
	}
	a.printf("node %s: to be drained\n", name)
	for _, p := range snap.Peers {
		if p.Name == name && !p.Alive {
			fmt.Fprintf(a.Err, "note: the agent of %s is gone; the node is drained when it comes back\n", name)
		}
	}
	if wait == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	last, err := a.followDrain(ctx, s, name)
	if errors.Is(err, context.DeadlineExceeded) {
		return &failure{code: exitFailed, err: fmt.Errorf("node %s: not quiet after %s: %s", name, wait, drainWords(last)),
			hint: "the drain goes on; repeat this to wait on, or `weft node undrain " + name + "`"}
	}
	return err
}

// followDrain prints each stage of a drain as it comes, and what is seen
// meanwhile, until the last. The error is the context's when its time is up.
func (a *app) followDrain(ctx context.Context, s *store.Store, name string) (last fabric.Drain, err error) {
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for {
		d, err := readDrain(ctx, s, name)
		switch {
		case ctx.Err() != nil:
			return last, ctx.Err()
		case errors.Is(err, store.ErrNotFound):
			return last, &failure{code: exitFailed, err: fmt.Errorf("node %s: somebody undrained it meanwhile", name)}
		case err != nil:
			return last, unreachable(err)
		}
		if d.State != last.State || d.Reason != last.Reason {
			a.printf("%s", stageText(*d))
		}
		if last = *d; d.State == stateQuiet {
			return last, nil
		}
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-tick.C:
		}
	}
}

// stageText is a stage with the time since the drain was asked for, on one
// line or more.
func stageText(d fabric.Drain) string {
	if d.State == "" {
		return ""
	}
	var b strings.Builder
	when := span(d.At.Sub(d.Since))
	for _, line := range wrap(drainWords(d), screen-margin) {
		fmt.Fprintf(&b, "  %-*s%s\n", margin-2, when, line)
		when = ""
	}
	return b.String()
}

// readDrain reads how far a node's drain is; ErrNotFound: it is not drained.
func readDrain(ctx context.Context, s *store.Store, name string) (*fabric.Drain, error) {
	raw, _, err := s.Get(ctx, "drained/"+name)
	if err != nil {
		return nil, err
	}
	d := new(fabric.Drain)
	if err := json.Unmarshal(raw, d); err != nil {
		return nil, fmt.Errorf("record drained/%s: %w", name, err)
	}
	return d, nil
}

// drainWords says how far a drain is and what was seen.
func drainWords(d fabric.Drain) string {
	words := map[string]string{
		"":          "its agent has not seen it yet",
		"leaving":   "leaving: its prefixes are the last choice",
		"withdrawn": "withdrawn: its prefixes are not announced",
		stateQuiet:  "quiet: no packet to its prefixes comes any more",
	}[d.State]
	words = cmp.Or(words, d.State)
	if d.Reason != "" {
		words += " (" + d.Reason + ")"
	}
	return words
}

// noNode says in words that a node is not there.
func noNode(name string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return &failure{code: exitFailed, err: fmt.Errorf("there is no node %s", name), hint: "`weft nodes` lists them"}
	}
	return refused(err)
}

package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

// How many peers a node moves in a second, by default and at most.
const (
	defaultRate = 100
	mostRate    = 1000
)

// forever is for commands that follow what goes on.
const forever = time.Duration(math.MaxInt64)

const migrateHelp = `Move a running fabric from one way of reaching peers to another.

Every node first looks whether it can go along. Then all of them make
themselves ready to receive by both ways, and only then, one node after the
other and peer by peer, do they send by the new one, with probes of full size
before and after each step. On any loss it pauses by itself and says where.

The nodes do this by themselves, by what is written in etcd: the command only
tells how it goes, and may be ended at any time (^C). The others here work from
any host. Nothing of the old way is taken away before "finish".`

func (a *app) migrateCommand() *cobra.Command {
	cmd := group("migrate", "Move a running fabric between VXLAN and BGP, or to another VXLAN port, VNI or MTU", migrateHelp)
	cmd.AddCommand(
		a.migrateStart(vxlanToBGP, "Let BGP carry what VXLAN carries now"),
		a.migrateStart(bgpToVXLAN, "Let VXLAN carry what BGP carries now"),
		a.migrateStart(newOverlay, "Move the overlay to another port, VNI or MTU"),
		a.migrateStatusCommand(), a.migratePauseCommand(), a.migrateResumeCommand(), a.migrateUndoCommand(), a.migrateFinishCommand(),
	)
	return cmd
}

// starting is what the flags of a command that begins a migration say.
type starting struct {
	request
	rate        int
	dry, detach bool
}

func (a *app) migrateStart(kind, short string) *cobra.Command {
	cmd := &cobra.Command{Use: kind, Short: short, Args: args()}
	flags := cmd.Flags()
	rate := flags.Int("rate", defaultRate, "peers that a node moves in a second")
	dry := flags.Bool("dry-run", false, "only look whether every node can go along")
	detach := flags.Bool("detach", false, "return at once instead of telling how it goes")
	var nodes *string
	var overlay func() overlayFlags
	if kind == newOverlay {
		cmd.Long = short + ". A new port or VNI is a second overlay beside\nthe first until `weft migrate finish`. It is the whole fabric's: all nodes move."
		overlay = addOverlayFlags(cmd)
	} else {
		cmd.Long = short + ". With --nodes only those nodes move what they\nsend; `weft migrate finish` then writes a rule for them into spec.pathRules."
		nodes = flags.String("nodes", "", "nodes that move, by their labels: LABEL=VALUE[,LABEL=VALUE...]; default all")
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s := starting{request: request{kind: kind}, rate: *rate, dry: *dry, detach: *detach}
		if s.rate < 1 || s.rate > mostRate {
			return usagef("--rate: %d peers a second is out of range (1 to %d)", s.rate, mostRate)
		}
		if overlay != nil {
			s.overlay = overlay()
		}
		if nodes != nil && *nodes != "" {
			var err error
			if s.nodes, err = parseSelector(*nodes); err != nil {
				return err
			}
		}
		return a.withStoreFor(cmd.Context(), forever, func(ctx context.Context, db *store.Store) error { return a.start(ctx, db, s) })
	}
	return cmd
}

// addOverlayFlags adds the settings of the overlay, and returns those given.
func addOverlayFlags(cmd *cobra.Command) func() overlayFlags {
	flags := cmd.Flags()
	port := flags.Uint16("port", 0, "UDP port of the overlay")
	vni := flags.Uint32("vni", 0, "VNI of the overlay")
	mtu := flags.Int("mtu", 0, "MTU of the pods; 0: the underlay's less the overhead")
	sum := flags.Bool("udp-checksum", false, "UDP checksums over IPv4 (with another port or VNI)")
	return func() (o overlayFlags) {
		if flags.Changed("port") {
			o.port = port
		}
		if flags.Changed("vni") {
			o.vni = vni
		}
		if flags.Changed("mtu") {
			o.mtu = mtu
		}
		if flags.Changed("udp-checksum") {
			o.udpChecksum = sum
		}
		return o
	}
}

// start begins a migration and tells how it goes.
func (a *app) start(ctx context.Context, s *store.Store, o starting) error {
	w, err := a.lookAt(ctx, s)
	if err != nil {
		return err
	}
	to, err := o.goal(w.snap.Spec.Plan())
	if err != nil {
		return err
	}
	if err := w.consider(o.request, to); err != nil {
		return err
	}
	if err := a.makeWay(ctx, s, w.snap); err != nil {
		return err
	}
	m := fabric.Migration{
		ID: a.newID(), From: w.snap.Spec.Plan(), To: to, Nodes: o.nodes, Rate: o.rate, DryRun: o.dry, By: a.who(), Created: a.Now().UTC(),
	}
	if err := s.Migrate(ctx, m); err != nil {
		if errors.Is(err, store.ErrMigrating) {
			return underWay(err)
		}
		return refused(err)
	}
	a.printf("%s", beginningText(&m))
	if o.detach {
		a.printf("begun; `weft migrate status --follow` tells how it goes\n")
		return nil
	}
	return a.follow(ctx, s, &m, story{})
}

// lookAt reads the fabric, which must have been set up.
func (a *app) lookAt(ctx context.Context, s *store.Store) (w world, err error) {
	if w.snap, err = s.View(ctx); err != nil {
		return w, unreachable(err)
	}
	if w.snap.Spec == nil {
		return w, &failure{code: exitFailed, err: errors.New("there is no Fabric yet"), hint: "weft apply -f FILE makes one"}
	}
	stored, err := readShelf(ctx, s)
	if err != nil {
		return w, err
	}
	_, w.name = config.Head(stored[keyOfFabric].Value)
	w.before = stored.objects()
	return w, nil
}

// makeWay takes away a migration that does nothing any more: one that was
// refused, only looked, or is undone.
func (a *app) makeWay(ctx context.Context, s *store.Store, snap *fabric.Snapshot) error {
	if snap.Migration == nil {
		return nil
	}
	p := snap.Progress()
	switch p.Phase {
	case fabric.PhaseRefused, fabric.PhaseChecked, fabric.PhaseUndone:
	default:
		return underWay(fmt.Errorf("%w: %s", store.ErrMigrating, migrationWords(snap.Migration, a.Now())))
	}
	err := s.FinishMigration(ctx, snap.Migration.ID, snap.Revision, nil)
	if err == nil {
		fmt.Fprintf(a.Err, "note: an earlier migration is taken away: %s, %s\n", migrationWords(snap.Migration, a.Now()), p.Phase)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil // somebody else did
	}
	return refused(err)
}

func underWay(err error) error {
	return &failure{code: exitFailed, err: err, hint: "`weft migrate status` shows it"}
}

// follow tells how a migration goes, from what was told already, and what its
// end means.
func (a *app) follow(ctx context.Context, s *store.Store, m *fabric.Migration, told story) error {
	watch, stop := a.interruptible(ctx)
	defer stop()
	told.undo = m.Undo
	f := &follower{a: a, store: s, id: m.ID, story: told}
	snap, end, err := f.follow(watch)
	if err != nil {
		return a.leave(ctx, s, m, told.watched)
	}
	if !told.watched && over(m, end) {
		a.takeAway(ctx, s, snap)
	}
	return a.conclude(snap, m, end)
}

// interruptible is a context that ends when the operator has seen enough.
func (a *app) interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.Interrupted == nil {
		return context.WithCancel(ctx)
	}
	return a.Interrupted(ctx)
}

// leave says what goes on without the command.
func (a *app) leave(ctx context.Context, s *store.Store, m *fabric.Migration, watched bool) error {
	if m.DryRun && !watched {
		if err := s.FinishMigration(context.WithoutCancel(ctx), m.ID, 0, nil); err == nil {
			fmt.Fprintln(a.Err, "note: the dry run is given up; nothing was changed")
			return answerNo()
		}
	}
	fmt.Fprintln(a.Err, "note: the migration goes on without this command:")
	for _, line := range [][2]string{
		{"weft migrate status --follow", "tells how it goes"}, {"weft migrate pause", "stops it where it is"}, {"weft migrate undo", "takes it back"},
	} {
		fmt.Fprintf(a.Err, "note:   %-30s%s\n", line[0], line[1])
	}
	return answerNo()
}

// who is the operator, for others to read.
func (a *app) who() string {
	name := "somebody"
	for _, v := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		if n, ok := a.lookupEnv(v); ok && n != "" {
			name = n
			break
		}
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}

// newID names a migration by when it began, and so that two are never alike.
func (a *app) newID() string {
	return a.Now().UTC().Format("20060102-150405") + "-" + strings.ToLower(rand.Text()[:6])
}

// beginningText is the head of the story.
func beginningText(m *fabric.Migration) string {
	var b strings.Builder
	what := "migration"
	if m.DryRun {
		what = "dry run of a migration"
	}
	fmt.Fprintf(&b, "%s %s\n", what, m.ID)
	for _, line := range planWords(m.From, m.To) {
		b.WriteString(itemText("~ " + line))
	}
	if m.Nodes != nil {
		fmt.Fprintf(&b, "  only what the nodes with %s send\n", selectorWords(m.Nodes))
	}
	return b.String()
}

// itemText is a line below a heading, broken where a screen ends.
func itemText(line string) string {
	return "  " + strings.Join(wrap(line, screen-6), "\n      ") + "\n"
}

// migrationWords is a migration in a few words.
func migrationWords(m *fabric.Migration, now time.Time) string {
	words := m.From.Backend + " to " + m.To.Backend
	if m.From.Backend == m.To.Backend {
		words = "to another overlay"
	}
	return fmt.Sprintf("%s, begun %s ago by %s", words, span(now.Sub(m.Created)), cmp.Or(m.By, "somebody"))
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/lab"
)

// CNIOptions say how much of the plugin to measure.
type CNIOptions struct {
	Binaries lab.Binaries
	Out      io.Writer
	Rounds   int // of each kind of call
	Pods     int // that are on the host already where many are; a bridge holds 1023
	Taken    int // addresses in use in a /16
}

// atOnce is how many pods are attached at the same time where several are.
const atOnce = 8

// RunCNI measures the plugin against the reference plugins and against itself,
// and prints a table like Run's.
func RunCNI(ctx context.Context, o CNIOptions) error {
	t := &sheet{w: tabwriter.NewWriter(o.Out, 0, 0, 2, ' ', 0)}
	t.row("", "WEFT", "OTHER", "RATIO", "BOUND", "")
	err := withCrowd(ctx, o.Binaries, func(l *lab.Lab) (err error) {
		in := o
		if in.Binaries.CNI, err = installed(o.Binaries.CNI, l.Dir()); err != nil {
			return err
		}
		one, err := compare(ctx, in.Binaries, l, o.Rounds)
		if err != nil {
			return err
		}
		t.ratio("ADD, one at a time: to bridge + host-local", one.weft, one.reference, 0.30)
		t.ratio("  its processor time", one.weftCPU, one.referenceCPU, 0.25)
		weft, reference, err := crowd(ctx, in.Binaries, l, o.Rounds)
		if err != nil {
			return err
		}
		t.ratio(fmt.Sprintf("ADD, %d at a time, time for each", atOnce), weft, reference, 1/2.5)
		full, empty, err := crowded(ctx, in, l)
		if err != nil {
			return err
		}
		t.ratio(fmt.Sprintf("ADD with %d pods: to none", o.Pods), full, empty, 1.5)
		version, nothing, err := starts(ctx, in.Binaries, l.Hosts[0], o.Rounds)
		if err != nil {
			return err
		}
		t.ratio("VERSION: to a program that does nothing, plus 1 ms", version, nothing+time.Millisecond, 1.5)
		return nil
	})
	if err != nil {
		return fmt.Errorf("plugin: %w", err)
	}
	info, err := os.Stat(o.Binaries.CNI)
	if err != nil {
		return err
	}
	t.limit("size of the binary", float64(info.Size())/1e6, 6, "MB")
	full, empty, err := allocation(ctx, o.Taken, o.Rounds*10)
	if err != nil {
		return fmt.Errorf("allocation: %w", err)
	}
	t.ratio(fmt.Sprintf("an address of a /16 with %d taken: to none", o.Taken), full, empty, 1.5)
	t.limit("  microseconds", float64(full.Nanoseconds())/1e3, 50, "")
	return t.w.Flush()
}

// installed copies the plugin into a directory, as `make install` does. What the
// linker has just written lies in the page cache page by page, and costs a process
// a tenth more to map than a file that was copied or unpacked, as the reference
// plugins were.
func installed(plugin, dir string) (string, error) {
	data, err := os.ReadFile(plugin)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "installed-"+filepath.Base(plugin))
	return path, os.WriteFile(path, data, 0o755)
}

// withCrowd builds a lab of two hosts with room for a thousand pods each.
func withCrowd(ctx context.Context, bin lab.Binaries, do func(*lab.Lab) error) (err error) {
	l, err := lab.New(lab.Options{Binaries: bin, Topology: lab.Topology{Hosts: []lab.HostSpec{{Name: "h1"}, {Name: "h2"}}}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	if err := l.Etcd.Start(ctx); err != nil {
		return err
	}
	spec := fabricSpec()
	spec["subnetLength"] = map[string]any{"ipv4": 20}
	if err := l.Apply(ctx, spec); err != nil {
		return err
	}
	for _, h := range l.Hosts {
		if _, err := startMeasured(ctx, h); err != nil {
			return err
		}
	}
	return do(l)
}

// crowd compares both plugins with several pods at a time. The figures are the
// time of all divided by their number.
func crowd(ctx context.Context, bin lab.Binaries, l *lab.Lab, rounds int) (weft, reference time.Duration, err error) {
	ours := weftAttacher(bin, l.Hosts[0])
	ref, err := referenceAttacher(l, l.Hosts[0])
	if err != nil {
		return 0, 0, err
	}
	var times [2][]time.Duration
	for range 3 {
		for i, a := range []*attacher{ours, ref} {
			d, err := a.together(ctx, max(rounds, atOnce))
			if err != nil {
				return 0, 0, err
			}
			times[i] = append(times[i], d)
		}
	}
	return median(times[0]), median(times[1]), nil
}

// together attaches n namespaces, several at a time, and detaches them. It
// returns the time for each of the ADDs.
func (a *attacher) together(ctx context.Context, n int) (each time.Duration, err error) {
	pods, err := a.scratch(n)
	defer func() { err = errors.Join(err, remove(pods)) }()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	err = a.all(ctx, "ADD", pods)
	each = time.Since(began) / time.Duration(n)
	return each, errors.Join(err, a.all(ctx, "DEL", pods))
}

// all makes a call for each pod, several at a time.
func (a *attacher) all(ctx context.Context, verb string, pods []*lab.Scratch) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, pod := range pods {
		g.Go(func() error {
			_, err := a.call(ctx, verb, pod.Name, pod.Path())
			return err
		})
	}
	return g.Wait()
}

func (a *attacher) scratch(n int) (pods []*lab.Scratch, err error) {
	for range n {
		pod, err := a.host.Scratch()
		if err != nil {
			return pods, err
		}
		pods = append(pods, pod)
	}
	return pods, nil
}

func remove(pods []*lab.Scratch) error {
	var errs []error
	for _, pod := range pods {
		errs = append(errs, pod.Remove())
	}
	return errors.Join(errs...)
}

// crowded fills the second host and compares it with the first: the median of an
// ADD on each.
func crowded(ctx context.Context, o CNIOptions, l *lab.Lab) (full, empty time.Duration, err error) {
	first, second := weftAttacher(o.Binaries, l.Hosts[0]), weftAttacher(o.Binaries, l.Hosts[1])
	pods, err := second.scratch(o.Pods)
	defer func() { err = errors.Join(err, remove(pods)) }()
	if err == nil {
		err = second.all(ctx, "ADD", pods)
	}
	if err == nil {
		err = alternate(ctx, o.Rounds, first, second)
	}
	full, _ = second.medians()
	empty, _ = first.medians()
	return full, empty, err
}

package command

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/lab"
)

func upCommand(f *flags) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "up",
		Short: "Bring a lab up and leave it up",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := lab.EnterHeldNamespace(true); err != nil {
				return err
			}
			return errors.Join(up(c, f, file), lab.ReleaseHeldNamespace())
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "topology `file` (default: three hosts in two racks, two pods on each)")
	return c
}

func up(c *cobra.Command, f *flags, file string) error {
	t, err := topology(file)
	if err != nil {
		return err
	}
	bin, err := f.binaries()
	if err != nil {
		return err
	}
	l, err := lab.New(lab.Options{Name: *f.name, Topology: t, Binaries: bin, Stay: true})
	if err != nil {
		return err
	}
	defer l.Close()
	// What is up stays for a look even if the rest does not come.
	if err := l.Up(c.Context()); err != nil {
		return fmt.Errorf("%w (weft-lab down removes what is there)", err)
	}
	return printStatus(c, l)
}

func statusCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Hosts, leases, paths and pods of a running lab",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := f.load()
			if err != nil {
				return err
			}
			defer l.Close()
			return printStatus(c, l)
		},
	}
}

func execCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:     "exec NODE|POD -- COMMAND...",
		Short:   "Run a command on a host, in a pod, on a switch, or in outside, etcd1",
		Example: "  weft-lab exec h1 -- weft status\n  weft-lab exec h1-a -- ping -c 3 10.244.2.2",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := f.load()
			if err != nil {
				return err
			}
			return l.Exec(args[0], args[1:])
		},
	}
}

func podCommand(f *flags) *cobra.Command {
	c := &cobra.Command{Use: "pod", Short: "Attach and detach pods"}
	c.AddCommand(&cobra.Command{
		Use: "add NODE POD", Short: "Attach a pod to a host", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			l, err := f.load()
			if err != nil {
				return err
			}
			defer l.Close()
			h := l.Host(args[0])
			if h == nil {
				return fmt.Errorf("there is no host %q", args[0])
			}
			p, err := l.AddPod(c.Context(), h, args[1])
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), p.Name, p.Addrs)
			return nil
		},
	}, &cobra.Command{
		Use: "rm POD", Short: "Detach a pod", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			l, err := f.load()
			if err != nil {
				return err
			}
			defer l.Close()
			p := l.Pod(args[0])
			if p == nil {
				return fmt.Errorf("there is no pod %q", args[0])
			}
			return l.RemovePod(c.Context(), p)
		},
	})
	return c
}

func downCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove a lab with all its processes, namespaces and files",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := lab.EnterHeldNamespace(false); err != nil {
				return err
			}
			if err := lab.Remove(*f.name); err != nil {
				return err
			}
			return lab.ReleaseHeldNamespace()
		},
	}
}

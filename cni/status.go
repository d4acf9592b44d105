package cni

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/kernel/rtnl"
)

// statusPatience is how long STATUS waits for the lock of the slot files, which
// a process that is stopped may hold.
const statusPatience = 3 * time.Second

// ailments are the reasons for which an ADD would not succeed, and whether one
// of them also cuts off the pods that are there.
type ailments struct {
	reasons []string
	limited bool
}

func (a *ailments) add(limited bool, err error) {
	if err != nil {
		a.reasons = append(a.reasons, err.Error())
		a.limited = a.limited || limited
	}
}

func (a *ailments) error() error {
	if len(a.reasons) == 0 {
		return nil
	}
	code := types.ErrPluginNotAvailable
	if a.limited {
		code = types.ErrLimitedConnectivity
	}
	return types.NewError(code, oneLine(strings.Join(a.reasons, "; ")), "")
}

// status reports everything that keeps an ADD from succeeding. It changes
// nothing, and it does not ask the agent: pods come and go without it.
func status(ctx context.Context, r request, s Streams) error {
	var found ailments
	node, subnets, err := readNode(r.conf)
	if err != nil {
		found.add(withdrawn(r.conf), err)
		return found.error()
	}
	found.add(false, writable(r.conf.RunDir))
	files, err := slots(r.conf, s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	found.add(false, haveAddresses(ctx, files, node, subnets))
	found.surveyHost(node)
	return found.error()
}

// withdrawn reports whether the node has no subnet that it still calls its own:
// the others do not send it what is for its pods any more.
func withdrawn(c conf) bool {
	node, err := nodefile.Read(c.RunDir)
	return err == nil && len(node.Subnets) > 0
}

// writable reports whether files can be made in the run directory: an ADD needs
// a record and perhaps a slot file.
func writable(runDir string) error {
	// For root this fails on a read-only file system only (access(2)).
	dir := runDir
	if _, err := os.Stat(filepath.Join(runDir, "slots")); err == nil {
		dir = filepath.Join(runDir, "slots")
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("%s cannot be written: %w", dir, err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	// Some file systems count no inodes (Files is 0), none counts no blocks.
	if fs.Blocks > 0 && fs.Bavail == 0 || fs.Files > 0 && fs.Ffree == 0 {
		return fmt.Errorf("%s cannot be written: %w", dir, unix.ENOSPC)
	}
	return nil
}

// haveAddresses reports whether each family has a free address, or will have
// one because the agent leases a further subnet.
func haveAddresses(ctx context.Context, files *ipam.Slots, node *nodefile.File, subnets []netip.Prefix) error {
	counts, err := files.Counts(ctx)
	if err != nil {
		return fmt.Errorf("slot files: %w", err)
	}
	usage := map[netip.Prefix]ipam.Usage{}
	for _, u := range counts {
		usage[u.Subnet] = u
	}
	var errs []error
	for _, f := range fabric.Families {
		var of, full, closed int
		for _, p := range subnets {
			if fabric.FamilyOf(p.Addr()) != f {
				continue
			}
			of++
			u, used := usage[p]
			switch {
			case used && u.Closed:
				closed++
			case used && u.InUse >= u.Size:
				full++
			}
		}
		switch {
		case of == 0 || full+closed < of:
		case closed == of:
			errs = append(errs, fmt.Errorf("%s: %w", f, ipam.ErrClosed))
		case node.Full.Get(f) != "":
			errs = append(errs, fmt.Errorf("%s: %w, and no further subnet can be had: %s", f, ipam.ErrFull, node.Full.Get(f)))
		}
	}
	return errors.Join(errs...)
}

// surveyHost looks at what pods are connected to. Without a bridge an ADD makes
// one; pods that are there stay cut off until the agent puts them back.
func (a *ailments) surveyHost(node *nodefile.File) {
	c, err := rtnl.Dial()
	if err != nil {
		a.add(false, err)
		return
	}
	defer c.Close()
	host, err := plumb.Look(c, node.Bridge)
	if err != nil {
		a.add(false, err)
		return
	}
	switch b := host.Bridge; {
	case b == nil && host.Pods > 0:
		a.add(true, fmt.Errorf("bridge %s is gone, and %d pods were on it", node.Bridge, host.Pods))
	case b == nil:
		a.add(false, creatable(node.Bridge))
	case b.Kind != "bridge":
		a.add(host.Pods > 0, fmt.Errorf("%s is a %s interface, not a bridge", b.Name, cmp.Or(b.Kind, "physical")))
	case !b.Up:
		a.add(true, fmt.Errorf("bridge %s is down", b.Name))
	case host.Ports >= plumb.MaxPorts:
		a.add(false, fmt.Errorf("bridge %s has %d ports and can have no more", b.Name, host.Ports))
	}
	if host.Bridge == nil {
		return // there is nothing yet that could forward
	}
	for _, f := range fabric.Families {
		if p := firstOf(f, node.Subnets); p.IsValid() {
			a.add(true, forwards(p.Addr(), node.Bridge))
		}
	}
}

// creatable reports whether an ADD could make the bridge.
func creatable(bridge string) error {
	if !isInterface(bridge) || len(bridge) >= unix.IFNAMSIZ {
		return fmt.Errorf("bridge %q cannot be made: no interface can have this name", bridge)
	}
	var caps [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &caps[0]); err == nil && caps[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		return fmt.Errorf("bridge %s cannot be made: the plugin runs without CAP_NET_ADMIN", bridge)
	}
	return nil
}

func firstOf(f fabric.Family, subnets []netip.Prefix) netip.Prefix {
	for _, p := range subnets {
		if fabric.FamilyOf(p.Addr()) == f {
			return p
		}
	}
	return netip.Prefix{}
}

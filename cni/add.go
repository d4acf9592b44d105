package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/ipam"
)

// readNode reads the node file; without a usable one the runtime should try
// again later.
func readNode(c conf) (*nodefile.File, []netip.Prefix, error) {
	node, err := nodefile.Read(c.RunDir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil, fail(types.ErrTryAgainLater, nil, "weftd has not leased a subnet for this host yet (no %s/%s)", c.RunDir, nodefile.Name)
	case err != nil:
		return nil, nil, fail(types.ErrTryAgainLater, err, "the file that weftd writes for the plugin")
	}
	subnets := slices.DeleteFunc(slices.Clone(node.Subnets), func(p netip.Prefix) bool { return slices.Contains(node.Draining, p) })
	if len(subnets) == 0 {
		return nil, nil, fail(types.ErrTryAgainLater, nil, "weftd has no subnet for new pods on this host at the moment")
	}
	return node, subnets, nil
}

// slots opens the slot files; whatever has to be rebuilt is rebuilt from what
// the kernel shows, and said on stderr, where runtimes log it.
func slots(c conf, s Streams) (*ipam.Slots, error) {
	out, err := ipam.NewSlots(c.RunDir, ipam.Options{
		InUse: plumb.InUse,
		Note:  func(file, reason string) { fmt.Fprintf(s.Err, "weft-cni: %s was made anew: %s\n", file, reason) },
	})
	if err != nil {
		return nil, fail(types.ErrIOFailure, err, "slot files")
	}
	return out, nil
}

func add(ctx context.Context, r request, s Streams) error {
	node, subnets, err := readNode(r.conf)
	if err != nil {
		return err
	}
	ns, err := openNetns(r.netns)
	if err != nil {
		return err
	}
	defer ns.Close()
	sockets, err := plumb.DialBoth(int(ns.Fd()))
	if err != nil {
		return fail(codeKernel, err, "netlink")
	}
	defer sockets.Close()
	if err := sockets.Vacant(r.Attachment); err != nil {
		return fail(codeKernel, err, "attach %s", r.Interface)
	}
	files, err := slots(r.conf, s)
	if err != nil {
		return err
	}
	claim := ipam.Claim{Attachment: r.Attachment, NetnsPath: r.netns, NetnsInode: ns.inode}
	grant, err := files.Allocate(ctx, claim, subnets)
	if err != nil {
		return fail(types.ErrIOFailure, err, "address")
	}
	if err := connect(r, s, sockets, node, grant, int(ns.Fd())); err != nil {
		return errors.Join(err, files.Undo(ctx, grant))
	}
	return nil
}

// connect makes the pod's interfaces and answers the runtime. What it made is
// gone again when it fails.
func connect(r request, s Streams, sockets plumb.Sockets, node *nodefile.File, grant ipam.Grant, netns int) error {
	bridge, err := bridgeOf(node).Ensure(sockets.Host)
	if err != nil {
		return fail(codeKernel, err, "bridge")
	}
	pod := &plumb.Pod{Attachment: r.Attachment, Addrs: grant.Addrs, MTU: node.MTU, Netns: netns}
	for _, a := range grant.Addrs {
		pod.Gateways = append(pod.Gateways, nodefile.Gateway(a))
	}
	ends, err := sockets.Attach(pod, bridge)
	if err != nil {
		return fail(codeKernel, err, "attach %s", r.Interface)
	}
	if err := answer(r, s.Out, result(r, bridge, ends, pod)); err != nil {
		return errors.Join(fail(types.ErrIOFailure, err, "write the result"), sockets.Undo(ends))
	}
	return nil
}

func bridgeOf(node *nodefile.File) plumb.Bridge {
	b := plumb.Bridge{Name: node.Bridge, MAC: node.BridgeMAC, MTU: node.MTU}
	for _, p := range node.Subnets {
		b.Gateways = append(b.Gateways, netip.PrefixFrom(nodefile.Gateway(p), p.Bits()))
	}
	return b
}

package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/fabric"
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

// attempt is an ADD on its way.
type attempt struct {
	request
	want  wishes
	node  *nodefile.File
	mtu   int // bytes
	netns netns
	plumb.Sockets
	grant ipam.Grant
}

// add attaches the pod: address, record, interfaces, answer. If one fails those
// before it are undone; if the process is killed, the next ADD or DEL of the
// attachment or the agent's sweep does that.
func add(ctx context.Context, r request, s Streams) error {
	a := attempt{request: r}
	var err error
	if a.want, err = parseWishes(&r); err != nil {
		return err
	}
	r.log.Pod = a.want.pod.String()
	var subnets []netip.Prefix
	if a.node, subnets, err = readNode(r.conf); err != nil {
		return err
	}
	if a.mtu, err = r.conf.options.mtu(a.node.MTU, subnets); err != nil {
		return err
	}
	if a.netns, err = openNetns(r.netns); err != nil {
		return err
	}
	defer a.netns.Close()
	if a.Sockets, err = plumb.DialBoth(a.netns.fd); err != nil {
		return fail(codeKernel, err, "netlink")
	}
	defer a.Close()
	if err := a.Vacant(r.Attachment); err != nil {
		return fail(codeKernel, err, "attach %s", r.Interface)
	}
	files, err := slots(r.conf, s)
	if err != nil {
		return err
	}
	if a.grant, err = a.allocate(ctx, files, subnets); err != nil {
		return errors.Join(a.unallocated(err), a.forget(ctx, files))
	}
	for _, p := range a.grant.Addrs {
		r.log.Addrs = append(r.log.Addrs, p.Addr())
	}
	if err := a.connect(s); err != nil {
		return errors.Join(err, a.abandon(err, files))
	}
	return nil
}

// claim is what is asked of the slot files.
func (a *attempt) claim() ipam.Claim {
	return ipam.Claim{
		Attachment: a.Attachment, NetnsPath: a.request.netns, NetnsInode: a.netns.inode,
		Network: a.conf.Name, Pod: a.want.pod.String(), Want: a.want.ips, Sticky: a.want.sticky,
	}
}

// unallocated explains why there is no address. That all are in use is no
// reason to give up while the agent can lease a further subnet.
func (a *attempt) unallocated(err error) error {
	full, why := a.full(err)
	switch {
	case !full:
		return fail(types.ErrIOFailure, err, "attach %s", a.Interface)
	case why == "":
		return types.NewError(types.ErrTryAgainLater, oneLine(fmt.Sprintf("attach %s: %v; weftd leases a further subnet", a.Interface, err)), "")
	}
	return fail(codeFull, fmt.Errorf("%w; no further subnet: %s", err, why), "attach %s", a.Interface)
}

// full reports whether err says that every address of a family is in use, and
// why there will be no more of it; empty: there will.
func (a *attempt) full(err error) (full bool, why string) {
	var f *ipam.FullError
	if !errors.As(err, &f) || len(f.Subnets) == 0 {
		return false, ""
	}
	return true, a.node.Full.Get(fabric.FamilyOf(f.Subnets[0].Addr()))
}

// forget gives up what an earlier ADD of the same attachment, with no DEL since,
// had: its interface has made way for this one (Vacant).
func (a *attempt) forget(ctx context.Context, files *ipam.Slots) error {
	_, err := files.Release(ctx, a.Attachment)
	if errors.Is(err, ipam.ErrBusy) {
		err = nil // the cause, which is said already; the sweep frees the address
	}
	return errors.Join(err, plumb.Unguard(a.Attachment), record.Remove(a.conf.RunDir, a.Attachment))
}

// connect makes the record and the pod's interfaces and answers the runtime.
func (a *attempt) connect(s Streams) error {
	bridge, err := bridgeOf(a.node).Ensure(a.Host)
	if err != nil {
		return fail(codeKernel, err, "bridge")
	}
	pod := a.pod()
	if err := a.record(pod).Write(a.conf.RunDir); err != nil {
		return fail(types.ErrIOFailure, err, "record of the attachment")
	}
	ends, err := a.Attach(pod, bridge)
	if err != nil {
		return fail(codeKernel, err, "attach %s", a.Interface)
	}
	a.log.Host = ends.Host.Name
	if err := answer(a.request, s.Out, result(a.request, bridge, ends, pod)); err != nil {
		return fail(types.ErrIOFailure, err, "write the result")
	}
	return nil
}

// abandon takes back what a failed ADD has made. The address is not given away
// while an interface may have it: if that cannot be removed, the agent's sweep
// and the next DEL find both.
func (a *attempt) abandon(cause error, files *ipam.Slots) error {
	var err error
	// An interface that was there first is not this ADD's to remove.
	if explain(cause).Code != codeTaken {
		var gone bool
		if gone, err = detach(a.Attachment); !gone {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience) // the request's own may be over
	defer cancel()
	return errors.Join(err, files.Undo(ctx, a.grant), record.Remove(a.conf.RunDir, a.Attachment))
}

// pod describes to the plumbing what it has to make.
func (a *attempt) pod() *plumb.Pod {
	o := &a.conf.options
	p := &plumb.Pod{
		Attachment: a.Attachment, Addrs: a.grant.Addrs, MTU: a.mtu, Netns: a.netns.fd, Hardware: a.want.mac,
		Hairpin: o.Hairpin, Isolated: o.Isolated, Guarded: o.guarded(), Sysctls: o.Sysctls,
	}
	for _, addr := range a.grant.Addrs {
		p.Gateways = append(p.Gateways, nodefile.Gateway(addr))
	}
	return p
}

// record describes the attachment to the agent and to operators.
func (a *attempt) record(p *plumb.Pod) *record.Record {
	return &record.Record{
		Version: record.Version, Network: a.conf.Name, Container: a.Container, Interface: a.Interface,
		HostInterface: a.HostInterface(), Bridge: a.node.Bridge, NetnsPath: a.request.netns, NetnsInode: a.netns.inode,
		Addrs: p.Addrs, MAC: p.MAC(), MTU: p.MTU, Guarded: p.Guarded, Isolated: p.Isolated, Hairpin: p.Hairpin,
		Pod: a.want.pod, Labels: a.want.labels, Aliases: a.want.aliases, Trace: a.trace, Created: time.Now().UTC(),
	}
}

func bridgeOf(node *nodefile.File) plumb.Bridge {
	b := plumb.Bridge{Name: node.Bridge, MAC: node.BridgeMAC, MTU: node.MTU}
	for _, p := range node.Subnets {
		b.Gateways = append(b.Gateways, netip.PrefixFrom(nodefile.Gateway(p), p.Bits()))
	}
	return b
}

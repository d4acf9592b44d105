package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/ipam"
)

// collectors is how many attachments GC removes at a time. Removing an
// interface takes 16 ms, of which the kernel works for one and waits for the
// rest until nobody can have a reference any more (net/core/dev.c,
// netdev_run_todo); several wait as long as one does.
const collectors = 16

// garbage is an attachment of this network that the runtime does not know, and
// what is left of it.
type garbage struct {
	ipam.Attachment
	slots []ipam.Slot // in use
	// known says that a slot knows the attachment's network, same that it is
	// this one; where no slot knows, the record is asked.
	known, same bool
}

// gc removes the attachments of this network that are not in the runtime's list
// (CNI specification, GC): interfaces, addresses, records. What is of another
// network, or of nobody knows which, is left to the agent's sweep.
//
// A list that is missing is not an empty one: then only those attachments go
// that have no interface any more. (libcni leaves it out when its caller named
// none, after it has called DEL for each that it knows.)
func gc(ctx context.Context, r request, s Streams) error {
	valid, complete, err := validAttachments(r.conf)
	if err != nil {
		return fail(types.ErrDecodingFailure, err, "cni.dev/valid-attachments")
	}
	files, err := slots(r.conf, s)
	if err != nil {
		return err
	}
	stale, err := findGarbage(ctx, r.conf, files, s)
	if err != nil {
		return fail(types.ErrIOFailure, err, "slot files")
	}
	stale = slices.DeleteFunc(stale, func(g garbage) bool { return valid[g.Attachment] })
	if !complete {
		host, err := plumb.ReadHost()
		if err != nil {
			return fail(codeKernel, err, "interfaces of this host")
		}
		stale = slices.DeleteFunc(stale, func(g garbage) bool { return host.Links[g.HostInterface()] })
	}
	return collect(r.conf.RunDir, files, stale)
}

// validAttachments reads the runtime's list; false if it gave none.
func validAttachments(c conf) (map[ipam.Attachment]bool, bool, error) {
	data := c.ValidAttachments
	if data == nil {
		data = c.OldAttachments
	}
	if data == nil {
		return nil, false, nil
	}
	// null is what encoders make of an empty list.
	var list []types.GCAttachment
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, false, err
	}
	out := map[ipam.Attachment]bool{}
	for i, a := range list {
		if a.ContainerID == "" || a.IfName == "" {
			return nil, false, fmt.Errorf("entry %d lacks containerID or ifname", i)
		}
		out[ipam.Attachment{Container: a.ContainerID, Interface: a.IfName}] = true
	}
	return out, true, nil
}

// findGarbage lists the attachments of this network.
func findGarbage(ctx context.Context, c conf, files *ipam.Slots, s Streams) ([]garbage, error) {
	list, err := files.List(ctx)
	if err != nil {
		return nil, err
	}
	all := map[ipam.Attachment]*garbage{}
	at := func(a ipam.Attachment) *garbage {
		if all[a] == nil {
			all[a] = &garbage{Attachment: a}
		}
		return all[a]
	}
	for _, slot := range list {
		if !slot.InUse {
			continue
		}
		g := at(slot.Attachment)
		g.slots = append(g.slots, slot)
		if known, same := slot.InNetwork(c.Name); known {
			g.known, g.same = true, same && (g.same || !g.known)
		}
	}
	records, err := record.List(c.RunDir)
	if err != nil { // they describe: one that is broken keeps nothing from going
		fmt.Fprintf(s.Err, "weft-cni: records: %s\n", oneLine(err.Error()))
	}
	for _, r := range records {
		if g := at(r.Attachment()); !g.known {
			g.same = r.Network == c.Name
		}
	}
	var out []garbage
	for _, g := range all {
		if g.same {
			out = append(out, *g)
		}
	}
	slices.SortFunc(out, func(a, b garbage) int { return strings.Compare(a.String(), b.String()) })
	return out, nil
}

// collect removes the attachments, a few at a time, and reports every failure.
func collect(runDir string, files *ipam.Slots, stale []garbage) error {
	gone := make([]bool, len(stale))
	errs := make([]error, len(stale))
	next := make(chan int)
	var wait sync.WaitGroup
	for range min(collectors, len(stale)) {
		wait.Go(func() {
			for i := range next {
				gone[i], errs[i] = detach(stale[i].Attachment)
			}
		})
	}
	for i := range stale {
		next <- i
	}
	close(next)
	wait.Wait()
	for i, g := range stale {
		if gone[i] {
			errs[i] = errors.Join(errs[i], g.forget(runDir, files))
		}
	}
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == 0 {
		return nil
	}
	return errors.Join(slices.Insert(errs, 0, fmt.Errorf("%d of %d stale attachments could not be removed", len(errs), len(stale)))...)
}

// forget frees the addresses of an attachment whose interface is gone, and
// removes its record. An address that was claimed anew since is not touched,
// nor is the record that came with it.
func (g garbage) forget(runDir string, files *ipam.Slots) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience) // of its own: there may be many
	defer cancel()
	if err := files.Free(ctx, g.slots); err != nil {
		return fail(types.ErrIOFailure, err, "release the address of %s", g.Attachment)
	}
	now, err := files.Lookup(ctx, g.Attachment)
	if err != nil {
		return fail(types.ErrIOFailure, err, "address of %s", g.Attachment)
	}
	if len(now) > 0 {
		return nil
	}
	if err := record.Remove(runDir, g.Attachment); err != nil {
		return fail(types.ErrIOFailure, err, "record of %s", g.Attachment)
	}
	return nil
}

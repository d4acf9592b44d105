package cni

import (
	"context"
	"errors"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/ipam"
)

// del removes what ADD recorded under the attachment's name. It never looks at
// CNI_NETNS: that path may lead to another pod by now, and removing the host's
// end of the pair takes the pod's along. It needs no node file, no previous
// result and no agent, and succeeds as often as it is called.
//
// Interface, guard, address, record: an address is not given away while an
// interface may have it, and the record says of which network both are until
// they are gone (GC asks).
func del(ctx context.Context, r request, s Streams) error {
	gone, err := detach(r.Attachment)
	if !gone {
		return err
	}
	files, slotsErr := slots(r.conf, s)
	if slotsErr != nil {
		return errors.Join(err, slotsErr)
	}
	freed, releaseErr := files.Release(ctx, r.Attachment)
	r.log.Addrs = freed
	if releaseErr != nil {
		return errors.Join(err, fail(types.ErrIOFailure, releaseErr, "release the address of %s", r.Attachment))
	}
	if recordErr := record.Remove(r.conf.RunDir, r.Attachment); recordErr != nil {
		return errors.Join(err, fail(types.ErrIOFailure, recordErr, "record of %s", r.Attachment))
	}
	return err
}

// detach removes the attachment's interfaces and its guard, and reports whether
// the interfaces are gone: a guard without its port does no harm, and the next
// ADD of the attachment or the agent replaces it.
func detach(a ipam.Attachment) (gone bool, err error) {
	if err := plumb.Detach(a); err != nil {
		return false, fail(codeKernel, err, "detach %s", a)
	}
	if err := plumb.Unguard(a); err != nil {
		return true, fail(codeKernel, err, "detach %s: guard", a)
	}
	return true, nil
}

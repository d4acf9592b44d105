package cni

import (
	"context"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/weft-net/weft/cni/plumb"
)

// del removes what ADD recorded under the attachment's name. It never looks at
// CNI_NETNS: that path may lead to another pod by now, and removing the host's
// end of the pair takes the pod's along. It needs no node file, no previous
// result and no agent, and succeeds as often as it is called.
func del(ctx context.Context, r request, s Streams) error {
	if err := plumb.Detach(r.Attachment); err != nil {
		return fail(codeKernel, err, "detach %s", r.Attachment)
	}
	files, err := slots(r.conf, s)
	if err != nil {
		return err
	}
	// Only now: the address must not be given away while an interface has it.
	if _, err := files.Release(ctx, r.Attachment); err != nil {
		return fail(types.ErrIOFailure, err, "release the address of %s", r.Attachment)
	}
	return nil
}

package cni

import (
	"context"

	"github.com/containernetworking/cni/pkg/types"
)

// status reports whether an ADD could succeed.
func status(ctx context.Context, r request, s Streams) error {
	if _, _, err := readNode(r.conf); err != nil {
		return fail(types.ErrPluginNotAvailable, nil, "%v", err)
	}
	return nil
}

package runtimes

import (
	"context"
	"testing"

	"github.com/weft-net/weft/lab"
)

// TestRuntimes runs every runtime on two hosts of one fabric, all at once: as
// on a real host, they know nothing of each other and have one plugin.
func TestRuntimes(t *testing.T) {
	t.Parallel()
	ctx, _, hosts := boot(t, lab.HostSpec{Name: "h1"}, lab.HostSpec{Name: "h2"})
	daemons := make([]*Containerd, len(hosts))
	for i, m := range hosts {
		var err error
		daemons[i], err = m.Containerd(ctx)
		must(t, err)
	}
	for _, tt := range []struct {
		name string
		test func(context.Context, *testing.T)
	}{
		{"podman", func(ctx context.Context, t *testing.T) { testPodman(ctx, t, hosts) }},
		{"buildah", func(ctx context.Context, t *testing.T) { testBuildah(ctx, t, hosts) }},
		{"ctr", func(ctx context.Context, t *testing.T) { testCtr(ctx, t, hosts, daemons) }},
		{"cri", func(ctx context.Context, t *testing.T) { testCRI(ctx, t, hosts, daemons) }},
		{"cnitool", func(ctx context.Context, t *testing.T) { testCnitool(ctx, t, hosts) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(ctx, t)
		})
	}
}

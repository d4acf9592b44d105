package runtimes

import (
	"context"
	"testing"
	"time"

	"github.com/weft-net/weft/ipam"
)

// testCtr attaches with ctr, which never detaches: when a container is gone,
// nobody tells the plugin. The agent finds out.
func testCtr(ctx context.Context, t *testing.T, hosts []*Machine, daemons []*Containerd) {
	var webs []*Container
	var attached []ipam.Attachment
	for i, m := range hosts {
		c, err := daemons[i].Start(ctx, "ctr-"+m.Spec.Name)
		must(t, err)
		_, a := eth0(ctx, t, m, c)
		webs, attached = append(webs, c), append(attached, a)
	}
	meet(ctx, t, webs[0], webs[1])
	for i, m := range hosts {
		must(t, daemons[i].Remove(ctx, webs[i].Name))
		if err := gone(t, m, attached[i]); err == nil {
			t.Log("ctr has detached its container: there is nothing to sweep")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for i, m := range hosts {
		must(t, await(ctx, "the sweep", func() error { return gone(t, m, attached[i]) }))
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What `weft bgp routes` and `received` ask: an address is answered with its
// longest match, and of a route of this node's own neither a next hop nor the
// kernel is told.
func TestRoutesOfThisNodeAndOthers(t *testing.T) {
	r := newRack(t, "", theTors)
	r.start()
	lease := r.lease()
	own := strings.Replace(lease, ".0/24", ".9", 1)
	const other = "10.244.200.0/24 198.18.1.1 tors/198.18.1.1 best=true via 198.18.1.1 on eth0"
	for asked, want := range map[string]string{
		"10.244.200.0/24": other, "10.244.200.9": other,
		lease: lease + " invalid IP  best=true ", own: lease + " invalid IP  best=true ",
		"10.244.200.9/32": "", "10.244.77.1": "", "fd00::1": "",
	} {
		poll(t, func() error {
			routes, err := r.client().BGPRoutes(context.Background(), asked)
			if err != nil {
				return err
			}
			var got []string
			for _, x := range routes {
				got = append(got, fmt.Sprintf("%s %s %s best=%t %s", x.Prefix, x.NextHop, x.Session, x.Best, x.Kernel))
			}
			if diff := cmp.Diff(want, strings.Join(got, "; ")); diff != "" {
				return fmt.Errorf("%s: -want +got:\n%s", asked, diff)
			}
			return nil
		})
	}
	if _, err := r.client().BGPRoutes(context.Background(), "10.244.0.0/33"); err == nil || !strings.Contains(err.Error(), "neither a prefix nor an address") {
		t.Errorf("nonsense: %v", err)
	}
	poll(t, func() error {
		heard, err := r.client().BGPReceived(context.Background(), "tors")
		if err != nil {
			return err
		}
		inUse := map[string]bool{}
		for _, x := range heard {
			inUse[x.Prefix.String()] = x.Best
		}
		if !inUse["10.244.200.0/24"] || inUse["0.0.0.0/0"] {
			return errors.New("received, and in use: " + fmt.Sprint(inUse))
		}
		return nil
	})
}

package faults

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/ipam"
)

// agent does to the slot files what the agent does, only faster, until stop is
// closed: it adopts, sweeps, forgets what it knew in a restart, and moves the
// subnets that new addresses come from.
func (s *soak) agent(rng *rand.Rand, stop <-chan struct{}) error {
	if err := s.enter(); err != nil {
		return err
	}
	sweeper, err := s.newSweeper()
	if err != nil {
		return err
	}
	sweeper.swept = s.m.swept
	const every = 30 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return s.rest(sweeper)
		case <-tick.C:
		}
		switch rng.IntN(5) {
		case 0: // the agent starts anew
			if sweeper, err = s.newSweeper(); err != nil {
				return err
			}
			sweeper.swept = s.m.swept
		case 1:
			if err := s.move(sweeper.files, rng); err != nil {
				return err
			}
		}
		if err := sweeper.pass(s.t.Context()); err != nil {
			return err
		}
	}
}

// rest is what there is after a while in which nothing comes or goes: all
// subnets take new pods, and what was left is swept.
func (s *soak) rest(sweeper *sweeper) error {
	for range 3 {
		if err := sweeper.pass(s.t.Context()); err != nil {
			return err
		}
	}
	return s.move(sweeper.files, nil)
}

// move lets a random subnet of each family drain, or none without rng.
func (s *soak) move(files *ipam.Slots, rng *rand.Rand) error {
	node := s.node // nobody else looks at the fields that change
	node.Draining = nil
	if rng != nil {
		for _, f := range fabric.Families {
			var in []netip.Prefix
			for _, p := range node.Subnets {
				if fabric.FamilyOf(p.Addr()) == f {
					in = append(in, p)
				}
			}
			node.Draining = append(node.Draining, in[rng.IntN(len(in))])
		}
	}
	open := slices.DeleteFunc(slices.Clone(node.Subnets), func(p netip.Prefix) bool { return slices.Contains(node.Draining, p) })
	s.m.move(open, false)
	if err := files.Open(s.t.Context(), open); err != nil {
		return err
	}
	if err := node.Write(s.runDir); err != nil {
		return err
	}
	s.m.move(open, true)
	return nil
}

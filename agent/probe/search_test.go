package probe

import (
	"math/rand/v2"
	"testing"
)

// link is a path whose lanes carry packets up to a size each; 0: none. Answers
// come from the far agent, the far kernel, or both.
type link struct {
	lanes         []int
	agent, kernel bool
	device        int // MTU of the sender's device, 0: large
	icmp          bool
	loss          float64
	rng           *rand.Rand
}

// ask sends what s wants to know and tells it what came of it.
func (l *link) ask(s *search) pace {
	size, lane := int(s.size()), l.lanes[s.lane]
	answers := s.method == byAgent && l.agent || s.method == byKernel && l.kernel
	switch {
	case l.device > 0 && size > l.device:
		return s.unanswered(true)
	case lane >= size && answers && (l.rng == nil || l.rng.Float64() >= l.loss):
		return s.arrived()
	case l.icmp && lane > 0 && size > lane:
		s.hinted(lane)
	}
	return s.unanswered(false)
}

// settle asks until all is known, and returns the number of packets.
func (l *link) settle(t *testing.T, s *search) (pace, int) {
	t.Helper()
	for n := 1; n < 400; n++ {
		if p := l.ask(s); p == settled || p == silence {
			return p, n
		}
	}
	t.Fatalf("never settles: %+v", *s)
	return 0, 0
}

// TestSearchFindsTheSize goes through all sizes: what is found arrives, and is
// as large as can be told.
func TestSearchFindsTheSize(t *testing.T) {
	for _, full := range []int{1450, 1500, 8950, 9000} {
		for _, v6 := range []bool{false, true} {
			for _, icmp := range []bool{false, true} {
				most := 0
				for carried := floor6; carried <= full; carried++ {
					l := &link{lanes: []int{carried}, agent: true, kernel: true, icmp: icmp}
					s := newSearch(v6, full, 0, 1)
					_, n := l.settle(t, &s)
					want := carried - carried%grain
					if icmp {
						want = carried
					}
					if got := int(s.mtu); got > carried || got < want || !s.proven {
						t.Fatalf("full %d, v6 %v, icmp %v: a path that carries %d was found to carry %d", full, v6, icmp, carried, got)
					}
					most = max(most, n)
				}
				// 3 tries, 1 small, 2 more; then at most 2 tries each for 12 sizes.
				if most > 6+24 {
					t.Errorf("full %d, v6 %v, icmp %v: %d packets", full, v6, icmp, most)
				}
				if icmp && most > 9 {
					t.Errorf("full %d, v6 %v: %d packets although a router says the size", full, v6, most)
				}
			}
		}
	}
}

func TestSearchLanes(t *testing.T) {
	for _, tt := range []struct {
		lanes []int
		want  int
	}{
		{[]int{1500, 1500}, 1500},
		{[]int{1500, 1400}, 1400},
		{[]int{1400, 1300, 1500}, 1300},
		{[]int{1300, 1400, 1350, 1290}, 1290},
	} {
		l := &link{lanes: tt.lanes, agent: true, kernel: true}
		s := newSearch(false, 1500, 0, len(tt.lanes))
		l.settle(t, &s)
		if int(s.mtu) != tt.want {
			t.Errorf("lanes %v: found %d", tt.lanes, s.mtu)
		}
		// One more lane heals: the path carries what the next worst does, never more.
		for i := range tt.lanes {
			l.lanes[i] = max(l.lanes[i], 1400)
		}
		s.again(true, true)
		l.settle(t, &s)
		if want := min(1500, slicesMin(l.lanes)); int(s.mtu) != want {
			t.Errorf("lanes %v, healed: found %d", l.lanes, s.mtu)
		}
	}
}

func slicesMin(v []int) int {
	m := v[0]
	for _, x := range v {
		m = min(m, x)
	}
	return m
}

// TestSearchWhileItChanges walks a path through sizes: the size in force never
// stays above what arrives, and comes back up.
func TestSearchWhileItChanges(t *testing.T) {
	l := &link{lanes: []int{1500}, agent: true, kernel: true}
	s := newSearch(false, 1500, 0, 1)
	l.settle(t, &s)
	for _, carried := range []int{1400, 1500, 1300, 1400, 1450, 600, 1500} {
		l.lanes[0] = carried
		s.again(false, false)
		l.settle(t, &s)
		s.again(false, true)
		_, n := l.settle(t, &s)
		if int(s.mtu) != carried {
			t.Errorf("carries %d, found %d", carried, s.mtu)
		}
		if n > 30 {
			t.Errorf("carries %d: %d packets to raise", carried, n)
		}
	}
	// Looking for more where there is none costs few packets.
	l.lanes[0] = 1400
	s.again(false, false)
	l.settle(t, &s)
	s.again(false, true)
	if _, n := l.settle(t, &s); n > 4 || s.mtu != 1400 {
		t.Errorf("%d packets to find that no more is carried than %d", n, s.mtu)
	}
}

// TestSearchEarlier: what an earlier life found is in force until known better.
func TestSearchEarlier(t *testing.T) {
	for _, carried := range []int{1300, 1350, 1400, 1500} {
		l := &link{lanes: []int{carried, carried}, agent: true}
		s := newSearch(false, 1500, 1350, 2)
		for range 4 {
			if s.mtu != 1350 {
				t.Fatalf("%d is in force before anything is known", s.mtu)
			}
			l.ask(&s)
			if s.proven {
				break
			}
		}
		l.settle(t, &s)
		if int(s.mtu) != carried {
			t.Errorf("carries %d, found %d", carried, s.mtu)
		}
	}
}

// What one lane carries is in force when all do.
func TestSearchEarlierLanes(t *testing.T) {
	l := &link{lanes: []int{1450, 1360}, agent: true}
	s := newSearch(false, 1500, 1350, 2)
	for n := 0; !s.proven; n++ {
		if l.ask(&s); s.mtu > 1360 || n > 100 {
			t.Fatalf("in force: %d; %+v", s.mtu, s)
		}
	}
	if s.mtu != 1360 {
		t.Errorf("found %d", s.mtu)
	}
}

func TestSearchSilence(t *testing.T) {
	for _, tt := range []struct {
		name          string
		agent, kernel bool // before
		after         func(l *link)
		rounds        int // of silence until the path counts as lost
	}{
		{"path dies", true, true, func(l *link) { l.lanes[0] = 0 }, 1},
		{"path dies, echo never answered", true, false, func(l *link) { l.lanes[0] = 0 }, roundsAgent + 1},
		{"only the agent dies", true, true, func(l *link) { l.agent = false }, 0},
		{"one of two lanes dies", true, true, func(l *link) { l.lanes[1] = 0 }, 1},
		{"never answered", false, false, func(*link) {}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &link{lanes: []int{1500, 1500}, agent: tt.agent, kernel: tt.kernel}
			s := newSearch(false, 1500, 0, 2)
			for range 40 {
				s.again(false, false)
				l.settle(t, &s)
			}
			if s.lost = s.lost && s.heard; s.lost {
				t.Fatal("lost before anything happened")
			}
			tt.after(l)
			for round := range 10 {
				for range 40 { // sweeps, until one is met with silence
					s.again(false, false)
					if p, _ := l.settle(t, &s); p == silence {
						break
					}
				}
				if want := tt.rounds > 0 && round+1 >= tt.rounds; s.lost != want {
					t.Fatalf("round %d: lost is %v", round+1, s.lost)
				}
			}
			// It is back when packets of full size arrive, not before.
			l.agent, l.kernel, l.lanes = true, true, []int{1400, 1400}
			s.again(true, false)
			for n := 0; s.lost || s.mtu != 1400; n++ {
				if l.ask(&s); n > 50 {
					t.Fatalf("never back: %+v", s)
				}
			}
		})
	}
}

// TestSearchOutage: a path that drops everything for a moment is not taken for
// one that drops large packets.
func TestSearchOutage(t *testing.T) {
	for outage := range 7 {
		l := &link{lanes: []int{1500}, agent: true, kernel: true}
		s := newSearch(false, 1500, 0, 1)
		l.settle(t, &s)
		s.again(false, false)
		l.lanes[0] = 0
		for range outage {
			l.ask(&s)
		}
		l.lanes[0] = 1500
		l.settle(t, &s)
		if s.mtu != 1500 || s.lost {
			t.Errorf("%d packets lost: mtu %d, lost %v", outage, s.mtu, s.lost)
		}
	}
}

// TestSearchNeverExceeds drives random links: what is in force after a sweep
// was seen to arrive, and the machine never asks for a size out of bounds.
func TestSearchNeverExceeds(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		lanes := make([]int, 1+rng.IntN(3))
		full := 700 + rng.IntN(9000)
		l := &link{lanes: lanes, agent: rng.IntN(2) == 0, kernel: rng.IntN(2) == 0, icmp: rng.IntN(2) == 0, rng: rng, loss: rng.Float64() * 0.3}
		if rng.IntN(4) == 0 {
			l.device = 600 + rng.IntN(9000)
		}
		s := newSearch(rng.IntN(2) == 0, full, rng.IntN(9000), len(lanes))
		for range 20 {
			for i := range lanes {
				lanes[i] = rng.IntN(9500)
			}
			s.again(rng.IntN(2) == 0, rng.IntN(2) == 0)
			for n := 0; ; n++ {
				if size := s.size(); size < s.floor || size > s.full {
					t.Fatalf("asks for %d: %+v", size, s)
				}
				if s.mtu < s.floor || s.mtu > s.full || int(s.lane) >= len(lanes) {
					t.Fatalf("out of bounds: %+v", s)
				}
				if p := l.ask(&s); p == settled || p == silence {
					break
				}
				if n > 1000 {
					t.Fatalf("never settles: %+v", s)
				}
			}
		}
	}
}

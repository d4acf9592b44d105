package kernel

import "testing"

// The first Sync writes each object once; after that, and after a restart,
// there is nothing to write.
func TestProgramAndRestart(t *testing.T) {
	for _, local := range []string{"198.18.0.1", "fd18::1"} {
		t.Run(local, func(t *testing.T) {
			underlay(t)
			w := join(base(local), peers(20))
			if local == "fd18::1" {
				for i := range w.FDB {
					w.FDB[i].Dst = subnet(6, 0x1000+i).Addr()
				}
			}
			first := open(t, w)
			r := inSync(t, first)
			if want := 2 + 3 + 4 + 2 + 1 + 20*7; r.Writes != want || !r.Dumped {
				t.Errorf("%d writes, want one for each object, %d", r.Writes, want)
			}
			if len(r.Repaired) != 0 {
				t.Errorf("first programming reported as repair: %v", r.Repaired)
			}
			idle(t, first)
			again := open(t, w)
			idle(t, again)
			first.Audit()
			idle(t, first)
		})
	}
}

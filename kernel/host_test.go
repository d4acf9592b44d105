package kernel

import (
	"testing"
)

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
			t.Logf("%+v", r)
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

package agent

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		p := pace{every: 3 * time.Millisecond, call: func() { calls++ }}
		p.do()
		if calls != 1 {
			t.Fatalf("%d calls, want the first at once", calls)
		}
		for range 100 {
			p.do()
		}
		if calls != 1 {
			t.Errorf("%d calls, want the others to wait", calls)
		}
		time.Sleep(p.every)
		synctest.Wait()
		if calls != 2 {
			t.Errorf("%d calls, want one for all that waited", calls)
		}
		p.do()
		time.Sleep(p.every)
		synctest.Wait()
		if calls != 3 {
			t.Errorf("%d calls, want none to be lost", calls)
		}
		time.Sleep(time.Minute)
		p.do()
		if calls != 4 {
			t.Errorf("%d calls, want one after a pause at once", calls)
		}
	})
}

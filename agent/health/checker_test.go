package health

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
)

func TestMain(m *testing.M) { os.Exit(testns.Main(m)) }

func quiet() *logrus.Entry {
	log, _ := test.NewNullLogger()
	return logrus.NewEntry(log)
}

func object(name string, h fabric.BGPHealth) fabric.BGPPrefix {
	return fabric.BGPPrefix{Name: name, Spec: fabric.BGPPrefixSpec{Health: &h}}
}

// A verdict turns after so many answers in a row, and no sooner.
func TestRiseAndFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		turned := 0
		c := New(Options{Log: quiet(), Changed: func() { turned++ }, Probe: func(context.Context, fabric.BGPPrefixSpec) error {
			if up.Load() {
				return nil
			}
			return errors.New("connection refused")
		}})
		defer c.Close()
		second := fabric.Duration(time.Second)
		step := func() { time.Sleep(time.Second); synctest.Wait() } // the bubble's clock
		want := func(healthy, known bool) {
			t.Helper()
			if v := c.Verdicts()["dns"]; v.Healthy != healthy || v.Known != known {
				t.Fatalf("verdict %+v, want healthy %t known %t", v, healthy, known)
			}
		}
		up.Store(true)
		dns := object("dns", fabric.BGPHealth{TCP: "x", Interval: second, Rise: 3, Fall: 2})
		c.Follow([]fabric.BGPPrefix{dns, {Name: "always"}})
		synctest.Wait()
		want(false, false)
		step()
		want(false, false)
		step()
		want(true, true)
		up.Store(false)
		step()
		want(true, true)
		if v := c.Verdicts()["dns"]; v.Reason != "connection refused" {
			t.Errorf("reason %q", v.Reason)
		}
		up.Store(true) // one answer between two failures: not in a row
		step()
		up.Store(false)
		step()
		want(true, true)
		step()
		want(false, true)
		if turned != 2 {
			t.Errorf("told of %d changes, want 2", turned)
		}

		up.Store(true)
		dns.Spec.Health = &fabric.BGPHealth{TCP: "x", Interval: second, Rise: 1}
		c.Follow([]fabric.BGPPrefix{dns})
		synctest.Wait()
		want(true, true)
		dns.Spec.Health = &fabric.BGPHealth{TCP: "y", Interval: second, Rise: 4}
		c.Follow([]fabric.BGPPrefix{dns})
		synctest.Wait()
		want(true, true) // a changed condition keeps the verdict meanwhile
		c.Follow(nil)
		step()
		if len(c.Verdicts()) != 0 {
			t.Errorf("verdicts on what nobody wants: %v", c.Verdicts())
		}
	})
}

// An agent that restarts goes on with the verdict of before, and one answer
// does not turn it.
func TestEarlierVerdictStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := errors.New("no")
		c := New(Options{
			Log: quiet(), Changed: func() {}, Earlier: map[string]bool{"dns": true, "gone": true},
			Probe: func(context.Context, fabric.BGPPrefixSpec) error { return fail },
		})
		defer c.Close()
		c.Follow([]fabric.BGPPrefix{object("dns", fabric.BGPHealth{TCP: "x", Interval: fabric.Duration(time.Second), Fall: 2})})
		synctest.Wait()
		if v := c.Verdicts(); !v["dns"].Healthy || len(v) != 1 {
			t.Errorf("verdicts %v, want the earlier one and no other", v)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if v := c.Verdicts()["dns"]; v.Healthy {
			t.Errorf("verdict %+v after two failures", v)
		}
	})
}

// A probe that hangs delays no other, and the number under way is bounded.
func TestOneHangsOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var under, most atomic.Int64
		c := New(Options{Log: quiet(), Changed: func() {}, Probe: func(ctx context.Context, s fabric.BGPPrefixSpec) error {
			n := under.Add(1)
			defer under.Add(-1)
			most.Store(max(most.Load(), n))
			if s.Health.TCP == "hangs" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}})
		defer c.Close()
		objects := []fabric.BGPPrefix{object("works", fabric.BGPHealth{TCP: "works", Rise: 1})}
		for i := range 3 * atOnce {
			objects = append(objects, object(fmt.Sprint("hangs", i), fabric.BGPHealth{TCP: "hangs", Fall: 1}))
		}
		c.Follow(objects)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		v := c.Verdicts()
		if !v["works"].Healthy || !v["hangs0"].Known || v["hangs0"].Healthy {
			t.Errorf("works %+v, hangs0 %+v", v["works"], v["hangs0"])
		}
		if most.Load() > atOnce {
			t.Errorf("%d probes at once, want at most %d", most.Load(), atOnce)
		}
	})
}

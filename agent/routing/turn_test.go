package routing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/backends/bgp"
)

// locks are the fabric's, in memory: each name is held by one.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{}
	log  []string
	fail error
}

func (l *locks) lock(ctx context.Context, name string) (func(), error) {
	l.mu.Lock()
	if l.fail != nil {
		defer l.mu.Unlock()
		return nil, l.fail
	}
	if l.held[name] == nil {
		l.held[name] = make(chan struct{}, 1)
	}
	c := l.held[name]
	l.mu.Unlock()
	select {
	case c <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	l.mu.Lock()
	l.log = append(l.log, name)
	l.mu.Unlock()
	return func() { <-c }, nil
}

func (l *locks) free(name string) bool { return len(l.held[name]) == 0 }

func up(key, address string, since time.Time) bgp.SessionStatus {
	return bgp.SessionStatus{Key: key, Address: addrs(address)[0], State: bgp.Established, Since: since}
}

func waiting(keys ...string) (out []bgp.Waiting) {
	for _, k := range keys {
		out = append(out, bgp.Waiting{Key: k, Reasons: []string{"password"}})
	}
	return out
}

// Of two sessions that would reset one waits until the other is back.
func TestOneResetAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		l := &locks{held: map[string]chan struct{}{}}
		tt := &turns{lock: l.lock, kick: func() {}}
		defer tt.close()
		start := time.Now()
		s := states{"t/a": up("t/a", "198.18.0.1", start), "t/b": up("t/b", "198.18.0.2", start)}
		want := func(key string) {
			t.Helper()
			if got := tt.permitted(time.Now()); got != key {
				t.Errorf("permitted %q, want %q", got, key)
			}
		}
		want("")
		tt.follow(ctx, waiting("t/a", "t/b"), s, time.Now())
		synctest.Wait()
		want("t/a")
		tt.follow(ctx, waiting("t/b"), s, time.Now()) // applied; the status is still of before
		want("t/a")
		if l.free("198.18.0.1") {
			t.Error("the far end's lock is free during the reset")
		}
		s["t/a"] = bgp.SessionStatus{Key: "t/a", State: "idle"}
		time.Sleep(2 * time.Second)
		tt.follow(ctx, waiting("t/b"), s, time.Now())
		want("t/a")
		s["t/a"] = up("t/a", "198.18.0.1", time.Now())
		time.Sleep(time.Second)
		tt.follow(ctx, waiting("t/b"), s, time.Now())
		synctest.Wait()
		want("t/b")
		if !l.free("198.18.0.1") {
			t.Error("the lock is kept after the session is back")
		}
		s["t/b"] = bgp.SessionStatus{Key: "t/b", State: "idle"}
		tt.follow(ctx, nil, s, time.Now())
		time.Sleep(turnMost)
		tt.follow(ctx, nil, s, time.Now())
		want("")
		if !l.free("198.18.0.2") {
			t.Error("a session that does not come back keeps the lock")
		}
	})
}

// Two nodes with one far end: the second waits for the first. One that no longer
// wants its reset leaves the queue.
func TestNodesTakeTurnsAtAFarEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		l := &locks{held: map[string]chan struct{}{}}
		a, b := &turns{lock: l.lock, kick: func() {}}, &turns{lock: l.lock, kick: func() {}}
		defer a.close()
		defer b.close()
		s := states{"t/x": up("t/x", "198.18.0.1", time.Now())}
		a.follow(ctx, waiting("t/x"), s, time.Now())
		synctest.Wait()
		b.follow(ctx, waiting("t/x"), s, time.Now())
		synctest.Wait()
		if a.permitted(time.Now()) != "t/x" || b.permitted(time.Now()) != "" {
			t.Fatalf("permitted %q and %q, want the first alone", a.permitted(time.Now()), b.permitted(time.Now()))
		}
		b.follow(ctx, nil, s, time.Now()) // the operator took the change back
		a.follow(ctx, nil, s, time.Now())
		time.Sleep(time.Second)
		s["t/x"] = up("t/x", "198.18.0.1", time.Now())
		a.follow(ctx, nil, s, time.Now())
		synctest.Wait()
		if !l.free("198.18.0.1") || b.now != nil {
			t.Error("the lock is held by nobody's turn")
		}
	})
}

// A change of everything takes all locks, in one order everywhere.
func TestLocksOfAGlobalChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &locks{held: map[string]chan struct{}{}}
		tt := &turns{lock: l.lock, kick: func() {}}
		defer tt.close()
		s := states{}
		for i, a := range []string{"198.18.0.3", "198.18.0.1", "fe80::1%eth0", "198.18.0.2"} {
			key := fmt.Sprint("t/", i)
			s[key] = up(key, a, time.Now())
		}
		link := s["t/2"]
		link.RouterID = addrs("10.9.9.9")[0]
		s["t/2"] = link
		s["t/9"] = bgp.SessionStatus{Key: "t/9", State: "active", Address: addrs("198.18.0.9")[0]}
		tt.follow(t.Context(), waiting("*"), s, time.Now())
		synctest.Wait()
		if got := tt.permitted(time.Now()); got != "*" {
			t.Fatalf("permitted %q", got)
		}
		if want := []string{"10.9.9.9", "198.18.0.1", "198.18.0.2", "198.18.0.3"}; !slices.Equal(l.log, want) {
			t.Errorf("locks %v, want %v", l.log, want)
		}
	})
}

// A key means one session, those that came out of a range, or all; only such as
// are established.
func TestWhatAKeyMeans(t *testing.T) {
	start := time.Now()
	down := dynamic("r/198.18.0.4", "198.18.0.4", start)
	down.State = "idle"
	s := states{}
	for _, x := range []bgp.SessionStatus{
		dynamic("r/198.18.0.1", "198.18.0.1", start), dynamic("old/198.18.0.2", "198.18.0.2", start), dynamic("r/198.18.1.1", "198.18.1.1", start),
		up("t/198.18.0.3", "198.18.0.3", start), down,
	} {
		s[x.Key] = x
	}
	for key, want := range map[string]string{
		"r/198.18.0.0/24": "old/198.18.0.2 r/198.18.0.1",
		"r/198.18.2.0/24": "",
		"t/198.18.0.3":    "t/198.18.0.3",
		"r/198.18.0.4":    "",
		"t/198.18.0.9":    "",
		bgp.Everything:    "old/198.18.0.2 r/198.18.0.1 r/198.18.1.1 t/198.18.0.3",
	} {
		var got []string
		for _, x := range s.of(key) {
			got = append(got, x.Key)
		}
		slices.Sort(got)
		if text := strings.Join(got, " "); text != want || s.established(key) != (want != "") {
			t.Errorf("%s means %q, want %q", key, text, want)
		}
	}
}

// A session that is back under another name is back.
func TestRenamedSessionComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &locks{held: map[string]chan struct{}{}}
		tt := &turns{lock: l.lock, kick: func() {}}
		defer tt.close()
		s := states{"old/a": up("old/a", "198.18.0.1", time.Now())}
		tt.follow(t.Context(), waiting("old/a"), s, time.Now())
		synctest.Wait()
		if got := tt.permitted(time.Now()); got != "old/a" {
			t.Fatalf("permitted %q", got)
		}
		time.Sleep(time.Second)
		down := up("new/a", "198.18.0.1", time.Now())
		down.State = "idle"
		tt.follow(t.Context(), nil, states{"new/a": down}, time.Now())
		if l.free("198.18.0.1") {
			t.Error("the far end's lock is free during the reset")
		}
		tt.follow(t.Context(), nil, states{"new/a": up("new/a", "198.18.0.1", time.Now())}, time.Now())
		if !l.free("198.18.0.1") {
			t.Error("the lock is kept after the session is back")
		}
	})
}

// An etcd that is away costs the reset, and is asked again.
func TestLockCannotBeHad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &locks{held: map[string]chan struct{}{}, fail: errors.New("etcd is away")}
		tt := &turns{lock: l.lock, kick: func() {}}
		defer tt.close()
		s := states{"t/a": up("t/a", "198.18.0.1", time.Now())}
		step := func() {
			tt.permitted(time.Now())
			tt.follow(t.Context(), waiting("t/a"), s, time.Now())
			synctest.Wait()
		}
		step()
		step()
		if tt.failed == "" || tt.now != nil {
			t.Errorf("failed %q, turn %v", tt.failed, tt.now)
		}
		if line := pending(waiting("t/a"), tt)[0]; line != "session t/a: waits for its turn to be reset (password); lock 198.18.0.1: etcd is away" {
			t.Error(line)
		}
		l.fail = nil
		time.Sleep(turnPause)
		step()
		if got := tt.permitted(time.Now()); got != "t/a" {
			t.Errorf("permitted %q after etcd is back", got)
		}
	})
}

// dynamic is an established session that came out of a range.
func dynamic(key, address string, since time.Time) bgp.SessionStatus {
	s := up(key, address, since)
	s.Dynamic = true
	return s
}

// Sessions that came out of a range are reset in their turn like any other, by
// the key of the range, and are waited for although they have no status while
// they are away.
func TestSessionsOutOfARangeTakeTurns(t *testing.T) {
	const key = "clients/198.18.0.0/24"
	session := func(port uint16) bgp.Session {
		s := bgp.Session{Key: key}
		s.Port = port
		return s
	}
	plan := func(asn uint32, port uint16) bgp.Desired {
		return bgp.Desired{
			Global: bgp.Global{ASN: asn, RouterID: addrs("198.18.0.9")[0]},
			Ranges: []bgp.Range{{Prefix: prefixes("198.18.0.0/24")[0], Template: session(port)}},
		}
	}
	for name, c := range map[string]struct {
		wanted bgp.Desired
		turn   string
	}{
		"the range changes": {plan(64512, 1179), key},
		"all changes":       {plan(64513, 179), bgp.Everything},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &locks{held: map[string]chan struct{}{}}
				tt := &turns{lock: l.lock, kick: func() {}}
				defer tt.close()
				start := time.Now()
				s := states{
					"clients/198.18.0.1": dynamic("clients/198.18.0.1", "198.18.0.1", start),
					"others/198.18.0.2":  dynamic("others/198.18.0.2", "198.18.0.2", start),
				}
				staged, wait := bgp.Stage(plan(64512, 179), c.wanted, s.established, "")
				if len(wait) != 1 || wait[0].Key != c.turn || staged.Global.ASN != 64512 || staged.Ranges[0].Template.Port != 179 {
					t.Fatalf("staged %+v, waiting %+v", staged, wait)
				}
				tt.follow(t.Context(), wait, s, time.Now())
				synctest.Wait()
				if got := tt.permitted(time.Now()); got != c.turn || l.free("198.18.0.1") {
					t.Fatalf("permitted %q, the far end's lock is free: %t", got, l.free("198.18.0.1"))
				}
				delete(s, "clients/198.18.0.1")
				delete(s, "others/198.18.0.2")
				time.Sleep(time.Second)
				tt.follow(t.Context(), nil, s, time.Now())
				if l.free("198.18.0.1") {
					t.Error("the lock is free before the session is back")
				}
				s["clients/198.18.0.1"] = dynamic("clients/198.18.0.1", "198.18.0.1", time.Now())
				s["others/198.18.0.2"] = dynamic("others/198.18.0.2", "198.18.0.2", time.Now())
				tt.follow(t.Context(), nil, s, time.Now())
				if !l.free("198.18.0.1") {
					t.Error("the lock is kept after the session is back")
				}
			})
		})
	}
}

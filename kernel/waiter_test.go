package kernel

import (
	"testing"

	"golang.org/x/sys/unix"
)

// What is pending is signalled once, however much it is, and again after each
// rearm while it is there; stop ends the wait in either state.
func TestWaiter(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	w, err := newWaiter(pipe[0])
	if err != nil {
		t.Fatal(err)
	}
	w.rearm() // early ones are not saved up
	w.rearm()
	if _, err := unix.Write(pipe[1], []byte{1}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		<-w.changed
		select {
		case <-w.changed:
			t.Fatal("signalled twice")
		default:
		}
		w.rearm()
	}
	w.stop()
	<-w.ended

	idle, err := newWaiter(pipe[0])
	if err != nil {
		t.Fatal(err)
	}
	<-idle.changed // now it waits to be rearmed
	idle.stop()
}

// The Host's own signal: for a change from outside, also when nobody listened
// at that moment.
func TestChanged(t *testing.T) {
	underlay(t)
	h := open(t, join(base("198.18.0.1"), peers(2)))
	inSync(t, h)
	for range 3 {
		commands(t, "ip route del 10.0.1.0/24; nft flush ruleset")
		<-h.Changed()
		if r := inSync(t, h); r.Writes < 2 {
			t.Errorf("%d writes", r.Writes)
		}
	}
}

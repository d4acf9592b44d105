package rtnl

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/internal/testns"
)

func TestMain(m *testing.M) { os.Exit(testns.Main(m)) }

// What a Batch writes, messages and Attrs read, nested or not, padded or not.
func TestEncodeDecode(t *testing.T) {
	var b Batch
	b.Message(unix.RTM_NEWLINK, unix.NLM_F_CREATE, []byte{1, 2, 3, 4, 5})
	b.U8(1, 0xab)
	b.U16(2, 0x1234)
	b.U16BE(3, 4789)
	b.U32(4, 0xdeadbeef)
	b.String(5, "weft0")
	b.Flag(6)
	outer := b.Nest(7)
	b.Addr(1, netip.MustParseAddr("10.0.0.1"))
	inner := b.NestRaw(2, []byte{9, 9, 9})
	b.Addr(3, netip.MustParseAddr("fd00::1"))
	b.End(inner)
	b.End(outer)
	b.Message(unix.RTM_DELLINK, 0, nil)
	if b.Len() != 2 {
		t.Fatalf("%d messages", b.Len())
	}
	var got []string
	var walk func(prefix string, data []byte)
	walk = func(prefix string, data []byte) {
		if err := Attrs(data, func(typ uint16, v []byte) {
			line := fmt.Sprintf("%s%d:", prefix, typ)
			switch {
			case prefix == "" && typ == 7:
				walk("7.", v)
				return
			case prefix == "7." && typ == 2:
				walk("7.2.", v[4:])
				return
			case typ == 5:
				line += String(v)
			case prefix != "":
				line += Addr(v).String()
			case len(v) == 1:
				line += fmt.Sprintf("%#x", U8(v))
			case typ == 3:
				line += fmt.Sprint(U16BE(v))
			case len(v) == 2:
				line += fmt.Sprintf("%#x", U16(v))
			case len(v) == 4:
				line += fmt.Sprintf("%#x", U32(v))
			}
			got = append(got, line)
		}); err != nil {
			t.Error(err)
		}
	}
	err := messages(b.buf, func(m Message) error {
		got = append(got, fmt.Sprintf("message %d flags %#x", m.Type, m.Flags))
		if m.Type == unix.RTM_NEWLINK {
			walk("", m.Data[8:])
		}
		return nil
	})
	want := []string{"message 16 flags 0x401", "1:0xab", "2:0x1234", "3:4789", "4:0xdeadbeef", "5:weft0", "6:", "7.1:10.0.0.1", "7.2.3:fd00::1", "message 17 flags 0x1"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	b.Reset()
	if b.Len() != 0 || len(b.buf) != 0 {
		t.Error("not empty after Reset")
	}
}

// Short values read as zero, never beyond their end.
func TestShortValues(t *testing.T) {
	if U8(nil) != 0 || U16([]byte{1}) != 0 || U16BE([]byte{1}) != 0 || U32([]byte{1, 2, 3}) != 0 || Addr([]byte{1}).IsValid() || String(nil) != "" {
		t.Error("a short value was read")
	}
	for _, data := range [][]byte{{3, 0, 1, 0}, {9, 0, 1, 0, 5}} {
		if err := Attrs(data, func(uint16, []byte) {}); !errors.Is(err, ErrTruncated) {
			t.Errorf("attributes %v: %v", data, err)
		}
	}
	if err := messages(append([]byte{200}, make([]byte, 15)...), nil); !errors.Is(err, ErrTruncated) {
		t.Errorf("message: %v", err)
	}
}

const deviceIndex = 77

// device makes a bridge with an index that is known.
func device(t testing.TB, c *Conn) {
	t.Helper()
	h := make([]byte, unix.SizeofIfInfomsg)
	native.PutUint32(h[4:], deviceIndex)
	native.PutUint32(h[8:], unix.IFF_UP)
	native.PutUint32(h[12:], unix.IFF_UP)
	var b Batch
	b.Message(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, h)
	info := b.Nest(unix.IFLA_LINKINFO)
	b.String(unix.IFLA_INFO_KIND, "bridge")
	b.End(info)
	if errs, err := c.Execute(&b); err != nil || errs[0] != nil {
		t.Fatal(err, errs)
	}
}

// neighbour appends a permanent neighbour entry on the device.
func neighbour(b *Batch, i int) {
	h := make([]byte, 12)
	h[0], h[4], h[8] = unix.AF_INET, deviceIndex, unix.NUD_PERMANENT
	b.Message(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_EXCL, h)
	b.Addr(unix.NDA_DST, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	b.Bytes(unix.NDA_LLADDR, []byte{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)})
}

func open(t testing.TB) *Conn {
	t.Helper()
	c, err := Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// permanent tells the test's entries from the kernel's own for multicast.
func permanent(m Message) bool { return U16(m.Data[8:])&unix.NUD_PERMANENT != 0 }

func dumpNeighbours() *Batch {
	var b Batch
	b.Message(unix.RTM_GETNEIGH, 0, append([]byte{unix.AF_INET}, make([]byte, 11)...))
	return &b
}

// Each message has its own outcome, in whichever sendmsg it went out, and a
// refusal does not stop the others.
func TestExecute(t *testing.T) {
	testns.New(t)
	c := open(t)
	device(t, c)
	var b Batch
	const n = 5*perSend + 7
	for i := range n {
		neighbour(&b, i-i%10/9) // each tenth stands there already
	}
	errs, err := c.Execute(&b)
	if err != nil || len(errs) != n {
		t.Fatalf("%d outcomes: %v", len(errs), err)
	}
	for i, err := range errs {
		if want := i%10 == 9; errors.Is(err, unix.EEXIST) != want || !want && err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	seen := 0
	if err := c.Dump(dumpNeighbours(), func(m Message) error {
		if permanent(m) {
			seen++
		}
		return nil
	}); err != nil || seen != n-n/10 {
		t.Errorf("%d entries, want %d: %v", seen, n-n/10, err)
	}
}

// Refusals carry the kernel's own words, and those of a dump its reason.
func TestErrorText(t *testing.T) {
	testns.New(t)
	c := open(t)
	var b Batch
	b.Message(unix.RTM_NEWNEXTHOP, unix.NLM_F_CREATE, []byte{unix.AF_INET, 0, 0, 0, 0, 0, 0, 0})
	b.U32(unix.NHA_ID, 7)
	errs, err := c.Execute(&b)
	if err != nil {
		t.Fatal(err)
	}
	var refused *Error
	if !errors.As(errs[0], &refused) || refused.Text == "" || !strings.Contains(refused.Error(), refused.Text) || !errors.Is(errs[0], unix.EINVAL) {
		t.Errorf("got %v", errs[0])
	}
	b.Reset()
	b.Message(unix.RTM_GETROUTE, 0, append([]byte{unix.AF_INET, 0, 0, 0, 99}, make([]byte, 7)...))
	if err := c.Dump(&b, func(Message) error { return nil }); !errors.Is(err, unix.ENOENT) {
		t.Errorf("dump of a table that is not there: %v", err)
	}
}

// A callback that gives up leaves the rest of the answer; the next dump on the
// socket is not confused by it.
func TestDumpGivenUp(t *testing.T) {
	testns.New(t)
	c := open(t)
	device(t, c)
	var b Batch
	const n = 3000
	for i := range n {
		neighbour(&b, i)
	}
	if _, err := c.Execute(&b); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	if err := c.Dump(dumpNeighbours(), func(Message) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	seen := 0
	if err := c.Dump(dumpNeighbours(), func(m Message) error {
		if permanent(m) {
			seen++
		}
		return nil
	}); err != nil || seen != n {
		t.Errorf("%d entries, want %d: %v", seen, n, err)
	}
}

// Notifications come with their sender's port id; lost ones are reported once
// and those after them are still read.
func TestListen(t *testing.T) {
	testns.New(t)
	c := open(t)
	device(t, c)
	l, err := Listen(1<<20, unix.RTNLGRP_NEIGH)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pid, err := c.PortID()
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	for i := range 3 * slots {
		neighbour(&b, i)
	}
	if _, err := c.Execute(&b); err != nil {
		t.Fatal(err)
	}
	if there, err := l.Wait(0); !there || err != nil {
		t.Errorf("nothing to read after a write: %v", err)
	}
	seen := 0
	err = l.Drain(func(m Message) {
		if !permanent(m) {
			return
		}
		if seen++; m.PID != pid || m.Type != unix.RTM_NEWNEIGH {
			t.Errorf("type %d from %d, want %d", m.Type, m.PID, pid)
		}
	})
	if err != nil || seen != 3*slots {
		t.Errorf("%d notifications: %v", seen, err)
	}
	if there, err := l.Wait(0); there || err != nil {
		t.Errorf("something to read after a drain: %v", err)
	}

	small, err := Listen(1, unix.RTNLGRP_NEIGH)
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	b.Reset()
	for i := range 100 {
		neighbour(&b, 1<<16+i)
	}
	if _, err := c.Execute(&b); err != nil {
		t.Fatal(err)
	}
	if err := small.Drain(func(Message) {}); !errors.Is(err, ErrOverrun) {
		t.Errorf("after an overrun: %v", err)
	}
	if err := small.Drain(func(Message) {}); err != nil {
		t.Errorf("after it was told: %v", err)
	}
}

// A socket opened in another namespace works there, and its opener stays here.
func TestDialIn(t *testing.T) {
	testns.New(t)
	there, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	first := open(t)
	device(t, first)
	var b Batch
	neighbour(&b, 1)
	if _, err := first.Execute(&b); err != nil {
		t.Fatal(err)
	}
	testns.New(t) // another one
	c, err := DialIn(int(there.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	count := func(c *Conn) (n int) {
		if err := c.Dump(dumpNeighbours(), func(m Message) error {
			if permanent(m) {
				n++
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		return n
	}
	if got := [2]int{count(c), count(open(t))}; got != [2]int{1, 0} {
		t.Errorf("entries there and here: %v", got)
	}
}

// BenchmarkExecute writes and reads back neighbour entries.
func BenchmarkExecute(b *testing.B) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		b.Fatal(err)
	}
	c := open(b)
	device(b, c)
	const n = 10000
	var add Batch
	for i := range n {
		neighbour(&add, i)
	}
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() { // EEXIST after the first time costs as much
			if _, err := c.Execute(&add); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/message")
	})
	b.Run("dump", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := c.Dump(dumpNeighbours(), func(Message) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/message")
	})
}

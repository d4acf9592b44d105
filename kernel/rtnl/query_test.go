package rtnl

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/internal/testns"
)

// Each request has its own answer or its own refusal, however many go out at
// once.
func TestQuery(t *testing.T) {
	testns.New(t)
	c := open(t)
	device(t, c)
	var b Batch
	const n = 3*perQuery + 5
	for i := range n {
		h := make([]byte, unix.SizeofIfInfomsg)
		native.PutUint32(h[4:], deviceIndex+uint32(i%2))
		b.Message(unix.RTM_GETLINK, 0, h)
	}
	answers := make([]int, n)
	errs, err := c.Query(&b, func(i int, m Message) {
		if m.Type == unix.RTM_NEWLINK && U32(m.Data[4:]) == deviceIndex {
			answers[i]++
		}
	})
	if err != nil || len(errs) != n {
		t.Fatalf("%d outcomes: %v", len(errs), err)
	}
	for i := range n {
		if there := i%2 == 0; there != (answers[i] == 1) || there != (errs[i] == nil) || !there && !errors.Is(errs[i], unix.ENODEV) {
			t.Errorf("request %d: %d answers, %v", i, answers[i], errs[i])
		}
	}
}

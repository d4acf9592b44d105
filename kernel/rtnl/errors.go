package rtnl

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrInterrupted says that a table changed while it was dumped, so that the
// answer may lack entries or hold them twice: start over.
var ErrInterrupted = errors.New("netlink dump interrupted by a change")

// ErrOverrun says that the kernel dropped notifications because they were not
// read fast enough: what is known of the kernel's state is stale.
var ErrOverrun = errors.New("netlink notifications lost")

// Error is a request that the kernel refused; errors.Is matches the Errno.
type Error struct {
	Errno unix.Errno
	Text  string // the kernel's extended message, often empty
}

func (e *Error) Error() string {
	if e.Text == "" {
		return e.Errno.Error()
	}
	return fmt.Sprintf("%s (%s)", e.Errno, e.Text)
}

// Unwrap gives the errno.
func (e *Error) Unwrap() error { return e.Errno }

// messageError decodes an NLMSG_ERROR message, nil for an acknowledgement.
func messageError(m Message) error {
	code := int32(U32(m.Data))
	if code == 0 {
		return nil
	}
	e := &Error{Errno: unix.Errno(-code)}
	const request = 4 // then the header of the refused message
	if m.Flags&unix.NLM_F_ACK_TLVS != 0 && len(m.Data) >= request+unix.NLMSG_HDRLEN {
		_ = Attrs(m.Data[request+unix.NLMSG_HDRLEN:], func(typ uint16, v []byte) {
			if typ == unix.NLMSGERR_ATTR_MSG {
				e.Text = String(v)
			}
		})
	}
	return e
}

// doneError decodes the status that ends a dump.
func doneError(m Message) error {
	if code := int32(U32(m.Data)); code < 0 {
		return &Error{Errno: unix.Errno(-code)}
	}
	return nil
}

package rtnl

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	// perSend bounds the messages in one sendmsg: large enough to make the
	// system call cheap, small enough that their errors fit the receive buffer.
	perSend = 64
	maxSend = 32 << 10 // bytes
)

// Conn is one rtnetlink socket. It belongs to the network namespace in which
// it was opened and to one goroutine at a time.
type Conn struct {
	fd  int
	seq uint32
	in  *receiver
}

// Dial opens a socket in the calling thread's network namespace.
func Dial() (*Conn, error) { return dial(unix.NETLINK_ROUTE) }

func dial(protocol int) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	return wrap(fd)
}

// wrap makes a socket ready for use.
func wrap(fd int) (*Conn, error) {
	c := &Conn{fd: fd, in: newReceiver()}
	if err := c.setup(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return c, nil
}

func (c *Conn) setup() error {
	if err := unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("bind netlink socket: %w", err)
	}
	// CAP_ACK: an error carries the header of its message, not all of it.
	// EXT_ACK: the kernel's own words. STRICT_CHK: dumps honour their filters.
	for _, opt := range []int{unix.NETLINK_CAP_ACK, unix.NETLINK_EXT_ACK, unix.NETLINK_GET_STRICT_CHK} {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, opt, 1); err != nil {
			return fmt.Errorf("netlink socket option %d: %w", opt, err)
		}
	}
	return nil
}

// ownNamespace is the calling thread's network namespace.
const ownNamespace = "/proc/thread-self/ns/net"

// Within calls fn with the calling thread in the network namespace that the
// descriptor nsfd refers to. Goroutines that fn starts are not in it.
func Within(nsfd int, fn func() error) error {
	runtime.LockOSThread()
	own, err := unix.Open(ownNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0) // an os.File would try to poll it
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open %s: %w", ownNamespace, err)
	}
	defer unix.Close(own)
	if err := unix.Setns(nsfd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	err = fn()
	if back := unix.Setns(own, unix.CLONE_NEWNET); back != nil {
		// The thread stays locked, so the runtime ends it with its goroutine
		// and nothing else ever runs in the wrong namespace.
		return fmt.Errorf("return to own network namespace: %w", back)
	}
	runtime.UnlockOSThread()
	return err
}

// Close closes the socket.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// PortID is the socket's address; notifications of what it wrote carry it.
func (c *Conn) PortID() (uint32, error) {
	sa, err := unix.Getsockname(c.fd)
	if err != nil {
		return 0, err
	}
	return sa.(*unix.SockaddrNetlink).Pid, nil
}

// Execute sends all messages and returns one error per message, nil where
// the kernel accepted it. The messages are independent: one that fails does
// not stop the rest. The second error says that the socket itself failed; then
// what became of the messages is unknown.
func (c *Conn) Execute(b *Batch) ([]error, error) {
	return c.sendAll(b, perSend, func(int, Message) {})
}

// sendAll sends at most most messages at a time; answer is given what comes
// back for each and is no error.
func (c *Conn) sendAll(b *Batch, most int, answer func(i int, m Message)) ([]error, error) {
	errs := make([]error, b.Len())
	for from := 0; from < b.Len(); {
		to, end := from, b.starts[from]
		for to < b.Len() && to-from < most {
			next := len(b.buf)
			if to+1 < b.Len() {
				next = b.starts[to+1]
			}
			if to > from && next-b.starts[from] > maxSend {
				break
			}
			to, end = to+1, next
		}
		err := c.send(b, from, to, end, func(i int, m Message) {
			if m.Type == unix.NLMSG_ERROR {
				errs[i] = messageError(m)
			} else {
				answer(i, m)
			}
		})
		if err != nil {
			return errs, err
		}
		from = to
	}
	return errs, nil
}

// send writes messages from..to and gives answer what comes back. rtnetlink
// handles a request inside sendmsg, so all is queued when it returns
// (net/netlink/af_netlink.c, netlink_rcv_skb).
func (c *Conn) send(b *Batch, from, to, end int, answer func(i int, m Message)) error {
	first := c.seq + 1
	for i := from; i < to; i++ {
		c.seq++
		native.PutUint32(b.buf[b.starts[i]+8:], c.seq)
	}
	if err := c.write(b.buf[b.starts[from]:end]); err != nil {
		return err
	}
	return c.each(func(m Message) error {
		if i := int(m.Seq - first); i >= 0 && i < to-from {
			answer(from+i, m)
		}
		return nil
	})
}

// each calls fn for every message that is queued now.
func (c *Conn) each(fn func(Message) error) error {
	for {
		n, err := c.in.many(c.fd)
		if err != nil {
			return fmt.Errorf("read netlink socket: %w", err)
		}
		whole := true
		for i := range n {
			data, ok := c.in.slot(i)
			whole = whole && ok
			if !ok {
				continue
			}
			if err := messages(data, fn); err != nil {
				return err
			}
		}
		switch {
		case !whole:
			return ErrOverrun
		case n < slots:
			return nil
		}
	}
}

func (c *Conn) write(p []byte) error {
	for {
		err := unix.Sendto(c.fd, p, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != unix.EINTR {
			if err != nil {
				return fmt.Errorf("netlink send: %w", err)
			}
			return nil
		}
	}
}

// Dump sends the one message in b as a dump request and calls fn for each
// message of the answer. An error of fn ends the calls and is returned. After
// ErrInterrupted what fn has seen is of unknown completeness: forget it and
// start over.
func (c *Conn) Dump(b *Batch, fn func(Message) error) error {
	flags := native.Uint16(b.buf[6:]) | unix.NLM_F_DUMP
	native.PutUint16(b.buf[6:], flags)
	c.seq++
	seq := c.seq
	native.PutUint32(b.buf[8:], seq)
	if err := c.write(b.buf); err != nil {
		return err
	}
	interrupted, done := false, false
	var failed error // of fn, or the answer's end
	for !done {
		part, err := c.in.one(c.fd)
		if err != nil {
			return fmt.Errorf("read netlink dump: %w", err)
		}
		err = messages(part, func(m Message) error {
			if m.Seq != seq {
				return nil
			}
			interrupted = interrupted || m.Flags&unix.NLM_F_DUMP_INTR != 0
			// Whatever fn says, the answer is read to its end: the socket
			// cannot start another dump before that (EBUSY).
			switch done = m.Type == unix.NLMSG_DONE || m.Type == unix.NLMSG_ERROR; {
			case failed != nil:
			case m.Type == unix.NLMSG_DONE:
				failed = doneError(m)
			case m.Type == unix.NLMSG_ERROR:
				failed = messageError(m)
			default:
				failed = fn(m)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if failed == nil && interrupted {
		return ErrInterrupted
	}
	return failed
}

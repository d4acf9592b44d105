package store

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// relay is a wire to etcd that can be cut.
type relay struct {
	url string
	to  string

	mu    sync.Mutex // guards the rest
	down  bool
	conns map[net.Conn]struct{}
}

func newRelay(t *testing.T, url string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r := &relay{url: "http://" + l.Addr().String(), to: strings.TrimPrefix(url, "http://"), conns: map[net.Conn]struct{}{}}
	var tasks group
	tasks.start(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tasks.start(func() { r.carry(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.cut()
		tasks.wait()
	})
	return r
}

// hold notes an open connection, or closes it if the wire is cut.
func (r *relay) hold(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		c.Close()
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *relay) carry(c net.Conn) {
	defer c.Close()
	if !r.hold(c) {
		return
	}
	to, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer to.Close()
	if !r.hold(to) {
		return
	}
	var both group
	for _, d := range [][2]net.Conn{{c, to}, {to, c}} {
		both.start(func() {
			io.Copy(d[0], d[1])
			d[0].Close()
			d[1].Close()
		})
	}
	both.wait()
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = true
	for c := range r.conns {
		c.Close()
	}
	clear(r.conns)
}

func (r *relay) mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = false
}

package hostile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Config is what the speaker says of itself in its OPEN.
type Config struct {
	ASN      uint32
	RouterID netip.Addr
	Hold     time.Duration // default 90 s
	// NoIPv6 leaves that family out; Restart claims graceful restart for 30 s.
	NoIPv6, Restart bool
}

// Session is an established session. Send may be called from one goroutine at
// a time.
type Session struct {
	ASN  uint32 // the far end's
	conn net.Conn
	done chan struct{}

	mu       sync.Mutex
	updates  int          // guarded by mu
	notified Notification // guarded by mu
	err      error        // guarded by mu
	writing  sync.Mutex
}

// Notification is the far end's reason for closing (RFC 4271, section 6); the
// zero value is none.
type Notification struct{ Code, Subcode uint8 }

// Open exchanges OPEN and KEEPALIVE on a connection, whoever dialled. It takes
// the connection over.
func Open(conn net.Conn, c Config) (*Session, error) {
	s := &Session{conn: conn, done: make(chan struct{})}
	if err := errors.Join(conn.SetDeadline(time.Now().Add(30*time.Second)), s.handshake(c)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go s.read()
	go s.keepalive()
	return s, nil
}

func (s *Session) handshake(c Config) error {
	if err := s.Send(c.open()); err != nil {
		return err
	}
	typ, body, err := s.receive()
	if err != nil {
		return err
	}
	if typ != typeOpen || len(body) < 10 {
		return unexpected(typ, body)
	}
	s.ASN = farASN(body)
	if err := s.Send(Message(typeKeepalive, nil)); err != nil {
		return err
	}
	if typ, body, err = s.receive(); err == nil && typ != typeKeepalive {
		err = unexpected(typ, body)
	}
	return err
}

func unexpected(typ uint8, body []byte) error {
	if typ == typeNotification && len(body) >= 2 {
		return fmt.Errorf("the far end refused: NOTIFICATION %d/%d", body[0], body[1])
	}
	return fmt.Errorf("a message of type %d came instead", typ)
}

// open is the OPEN message: version 4, AS_TRANS where the AS has four bytes,
// capabilities in one optional parameter (RFC 5492).
func (c Config) open() []byte {
	if c.Hold == 0 {
		c.Hold = 90 * time.Second
	}
	capabilities := []byte{1, 4, 0, 1, 0, 1, 2, 0} // IPv4 unicast; route refresh
	families := []byte{0, 1, 1, 0x80}
	if !c.NoIPv6 {
		capabilities = append(capabilities, 1, 4, 0, 2, 0, 1)
		families = append(families, 0, 2, 1, 0x80)
	}
	if c.Restart {
		capabilities = append(capabilities, 64, byte(2+len(families)), 0, 30)
		capabilities = append(capabilities, families...)
	}
	capabilities = binary.BigEndian.AppendUint32(append(capabilities, 65, 4), c.ASN)
	short := uint16(23456)
	if c.ASN < 1<<16 {
		short = uint16(c.ASN)
	}
	body := binary.BigEndian.AppendUint16([]byte{4}, short)
	body = binary.BigEndian.AppendUint16(body, uint16(c.Hold/time.Second))
	body = append(body, c.RouterID.AsSlice()...)
	body = append(body, byte(2+len(capabilities)), 2, byte(len(capabilities)))
	return Message(typeOpen, append(body, capabilities...))
}

// farASN reads the AS number of an OPEN, from its capability where it has one.
func farASN(body []byte) uint32 {
	as := uint32(binary.BigEndian.Uint16(body[1:]))
	for params := body[10:]; len(params) >= 2 && len(params) >= 2+int(params[1]); params = params[2+int(params[1]):] {
		if params[0] != 2 {
			continue
		}
		for caps := params[2 : 2+int(params[1])]; len(caps) >= 2 && len(caps) >= 2+int(caps[1]); caps = caps[2+int(caps[1]):] {
			if caps[0] == 65 && caps[1] == 4 {
				as = binary.BigEndian.Uint32(caps[2:])
			}
		}
	}
	return as
}

// Send writes bytes as they are.
func (s *Session) Send(raw []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err := s.conn.Write(raw)
	return err
}

func (s *Session) receive() (typ uint8, body []byte, err error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(s.conn, header[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint16(header[16:]))
	if n < headerSize || n > maxMessage {
		return 0, nil, fmt.Errorf("a message of %d bytes came", n)
	}
	body = make([]byte, n-headerSize)
	_, err = io.ReadFull(s.conn, body)
	return header[18], body, err
}

// read takes in what the far end says until it closes.
func (s *Session) read() {
	defer close(s.done)
	for {
		typ, body, err := s.receive()
		s.mu.Lock()
		switch {
		case err != nil:
			s.err = err
		case typ == typeNotification && len(body) >= 2:
			s.notified = Notification{body[0], body[1]}
		case typ == typeUpdate:
			s.updates++
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// keepalive holds the session for as long as it lasts.
func (s *Session) keepalive() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
			_ = s.Send(Message(typeKeepalive, nil)) // read sees the end
		}
	}
}

// Done is closed when the session is over.
func (s *Session) Done() <-chan struct{} { return s.done }

// Heard is the number of UPDATE messages that came, and the far end's
// NOTIFICATION.
func (s *Session) Heard() (updates int, n Notification) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updates, s.notified
}

// Close drops the connection without a word and waits for the reader.
func (s *Session) Close() {
	_ = s.conn.Close() // the reader sees it
	<-s.done
}

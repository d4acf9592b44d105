package speaker

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/sirupsen/logrus"
)

// handler takes GoBGP's log. What concerns one session ends up in that
// session's status, where operators look, and in our log at debug level only;
// the rest is logged. It is called with GoBGP's locks held: it must not call
// back.
type handler struct {
	log    *logrus.Entry
	board  *board
	peer   string // value of "Key": an address, or a prefix for a range
	fields logrus.Fields
	// closing: the server is being stopped, its complaints mean nothing.
	closing *atomic.Bool
}

func newHandler(log *logrus.Entry, b *board) *handler {
	return &handler{log: log, board: b, closing: &atomic.Bool{}}
}

// Enabled lets debug records pass only for a session that is not established:
// the reason of a failed dial is in one, and for the others each UPDATE and
// each route would be a record.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	if level >= slog.LevelInfo {
		return true
	}
	return h.peer != "" && h.board.connecting(h.peer)
}

// Handle implements slog.Handler.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	fields := make(logrus.Fields, len(h.fields)+r.NumAttrs())
	for k, v := range h.fields {
		fields[k] = v
	}
	peer := h.peer
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "Key" {
			peer = a.Value.String()
		}
		fields[a.Key] = a.Value.Any()
		return true
	})
	if peer != "" {
		h.board.note(peer, r.Message, fields)
	}
	level := logrus.DebugLevel
	if peer == "" && r.Level >= slog.LevelWarn && !h.closing.Load() {
		level = logrus.WarnLevel
	}
	h.log.WithFields(fields).Log(level, r.Message)
	return nil
}

// WithAttrs implements slog.Handler: a session's logger carries its address.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.fields = make(logrus.Fields, len(h.fields)+len(attrs))
	for k, v := range h.fields {
		c.fields[k] = v
	}
	for _, a := range attrs {
		if a.Key == "Key" {
			c.peer = a.Value.String()
		}
		c.fields[a.Key] = a.Value.Any()
	}
	return &c
}

// WithGroup implements slog.Handler; GoBGP has no groups.
func (h *handler) WithGroup(string) slog.Handler { return h }

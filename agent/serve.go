package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weft-net/weft/agent/api"
)

const (
	askTimeout = 3 * time.Second
	// stuck is how long a round may take before the agent no longer calls
	// itself healthy.
	stuck = 2 * auditEvery
)

// serveControl answers on the control socket, for root only, until ctx ends.
func (a *agent) serveControl(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+api.PathStatus, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
		defer cancel()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a.status(ctx)) // the client went away: nobody to tell
	})
	mux.HandleFunc("POST "+api.PathReleaseHold, func(w http.ResponseWriter, r *http.Request) {
		a.log.Warn("hold released by the operator")
		a.session.ReleaseHold()
	})
	a.bgpPages(mux)
	a.pathPages(mux)
	path := filepath.Join(a.cfg.RunDir, api.Socket)
	// The lock on the run directory is ours, so a socket there is a leftover.
	if err := ignoreMissing(os.Remove(path)); err != nil {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	return serve(ctx, l, mux)
}

// serveHealth answers health checks and scrapes until ctx ends. An address
// that is taken costs the metrics, not the data path: it is tried again.
func (a *agent) serveHealth(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", a.healthz)
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{}))
	for said := false; ctx.Err() == nil; said = true {
		l, err := net.Listen("tcp", a.cfg.Listen)
		if err == nil {
			return serve(ctx, l, mux)
		}
		if !said {
			a.log.WithError(err).WithField("listen", a.cfg.Listen).Error("health and metrics are not served; trying again")
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
		}
	}
	return nil
}

// serve ends at once with ctx: an answer under way is not worth a slow stop.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (a *agent) healthz(w http.ResponseWriter, _ *http.Request) {
	if s := a.loop.summary.Load(); s != nil && time.Since(s.finished) > stuck {
		http.Error(w, fmt.Sprintf("the reconcile loop last finished %s ago", time.Since(s.finished).Round(time.Second)), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (a *agent) readyz(w http.ResponseWriter, _ *http.Request) {
	if ready, reasons := a.ready(); !ready {
		http.Error(w, strings.Join(reasons, "\n"), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// ready is what the last round said.
func (a *agent) ready() (bool, []string) {
	s := a.loop.summary.Load()
	if s == nil {
		return false, []string{"starting"}
	}
	return s.ready, s.reasons
}

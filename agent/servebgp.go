package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/agent/routing"
	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

// listTimeout bounds an answer that may list a hundred thousand routes; it is
// less than the client's patience.
const listTimeout = 8 * time.Second

// answer is a page of the control socket: a value that becomes JSON, or why
// there is none.
type answer func(ctx context.Context, r *http.Request) (any, error)

// errAsked says that the question makes no sense.
type errAsked struct{ error }

func (a *agent) bgpPages(mux *http.ServeMux) {
	for path, page := range map[string]answer{
		api.PathBGP:           func(context.Context, *http.Request) (any, error) { return a.bgp(), nil },
		api.PathBGPRoutes:     a.bgpRoutes,
		api.PathBGPAdvertised: a.bgpTold(a.routing.Advertised),
		api.PathBGPReceived:   a.bgpTold(a.routing.Received),
		api.PathBGPWhy: func(ctx context.Context, r *http.Request) (any, error) {
			return a.why(ctx, r.URL.Query().Get("prefix"))
		},
	} {
		mux.HandleFunc("GET "+path, listed(page))
	}
	mux.HandleFunc("POST "+api.PathBGPShutdown, func(w http.ResponseWriter, r *http.Request) {
		a.log.Warn("BGP shutdown asked for by the operator or the service manager")
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // the stages take longer than other answers
		writeAnswer(w, nil, a.routing.Shutdown(r.Context()))
	})
}

// listed serves a page, in the time that a long list may take.
func listed(page answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), listTimeout)
		defer cancel()
		v, err := page(ctx, r)
		writeAnswer(w, v, err)
	}
}

// errBusy is the answer of a loop that gives none.
var errBusy = errors.New("the reconcile loop does not answer: it is busy or waits for the kernel")

// writeAnswer sends a value, or an error with the status that fits.
func writeAnswer(w http.ResponseWriter, v any, err error) {
	var asked errAsked
	var unknown routing.ErrNoSession
	switch {
	case errors.As(err, &asked):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case errors.As(err, &unknown):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case v != nil:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // the client went away: nobody to tell
	}
}

// bgp puts together how the speaker is.
func (a *agent) bgp() *api.BGP {
	s := a.routing.Status()
	out := &api.BGP{
		Enabled: s.Enabled, ASN: s.ASN, RouterID: s.RouterID, State: s.State, Reason: s.Reason,
		Pending: s.Pending, Problems: s.Problems, Drain: s.Drain,
	}
	for _, session := range a.routing.Sessions() {
		out.Sessions = append(out.Sessions, sessionOf(session))
	}
	for _, f := range fabric.Families {
		out.Synced.Set(f, a.routing.Synced(f))
	}
	for _, p := range s.Announced {
		out.Announced = append(out.Announced, api.BGPAnnouncement{Prefix: p.Prefix, Why: p.Why})
	}
	for _, p := range s.Withheld {
		out.Announced = append(out.Announced, api.BGPAnnouncement{Prefix: p.Prefix, Why: p.Why, Withheld: p.Reason})
	}
	if sum := a.loop.summary.Load(); sum != nil {
		out.FIB = sum.fib
	}
	return out
}

func sessionOf(s bgp.SessionStatus) api.BGPSession {
	out := api.BGPSession{
		Key: s.Key, Address: s.Address, State: string(s.State), Since: s.Since, RemoteASN: s.RemoteASN, RouterID: s.RouterID,
		Flaps: s.Flaps, Reason: s.LastError, Restarting: s.Restarting, Hold: fabric.Duration(s.Hold),
	}
	for _, f := range fabric.Families {
		have := s.Families.Get(f)
		out.Families.Set(f, api.BGPSessionFamily{
			Negotiated: have.Negotiated, EndOfRIB: have.EndOfRIB, Received: have.Received, Accepted: have.Accepted,
			Rejected: have.Rejected, Advertised: have.Advertised, Stale: have.Stale,
		})
	}
	return out
}

// bgpTold is a page of what goes over sessions.
func (a *agent) bgpTold(ask func(context.Context, string) ([]bgp.Path, error)) answer {
	return func(ctx context.Context, r *http.Request) (any, error) {
		paths, err := ask(ctx, r.URL.Query().Get("session"))
		return routesOf(paths), err
	}
}

// bgpRoutes lists the ways that the speaker knows, and what the kernel makes of
// each prefix that a peer told.
func (a *agent) bgpRoutes(ctx context.Context, r *http.Request) (any, error) {
	paths, err := a.pathsTo(ctx, r.URL.Query().Get("prefix"))
	if err != nil {
		return nil, err
	}
	out := routesOf(paths)
	for part := range slices.Chunk(out, takeAtOnce) { // the loop has other work between
		err = a.loop.ask(ctx, func() {
			bad := a.loop.bad()
			for i, r := range part {
				if r.Session != "" { // our own are not in the kernel for the speaker's sake
					part[i].Kernel, _ = a.loop.kernelHas(r.Prefix, bad)
				}
			}
		})
		if err != nil {
			return nil, errBusy
		}
	}
	return out, nil
}

// pathsTo are the ways to a prefix, to the longest prefix that an address is in,
// or all where the text is empty.
func (a *agent) pathsTo(ctx context.Context, text string) ([]bgp.Path, error) {
	if text == "" {
		return a.routing.Routes(ctx, netip.Prefix{})
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		return a.routing.Match(ctx, addr.Unmap().WithZone(""))
	}
	prefix, err := parsePrefix(text)
	if err != nil {
		return nil, err
	}
	return a.routing.Routes(ctx, prefix)
}

func routesOf(paths []bgp.Path) []api.BGPRoute {
	out := make([]api.BGPRoute, 0, len(paths))
	for _, p := range paths {
		r := api.BGPRoute{
			Prefix: p.Prefix, NextHop: p.NextHop, Session: p.Session, ASPath: p.ASPath, MED: p.MED, LocalPreference: p.LocalPreference,
			Best: p.Best, Stale: p.Stale, Rejected: p.Rejected, Age: p.Age,
		}
		if r.NextHop.IsUnspecified() { // how GoBGP says that a route is our own
			r.NextHop = netip.Addr{}
		}
		for _, c := range p.Communities {
			r.Communities = append(r.Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
		}
		for _, c := range p.LargeCommunities {
			r.LargeCommunities = append(r.LargeCommunities, fmt.Sprintf("%d:%d:%d", c.Global, c.Local1, c.Local2))
		}
		out = append(out, r)
	}
	return out
}

// parsePrefix takes a prefix or an address.
func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(strings.TrimSpace(text))
	if err != nil {
		return p, errAsked{fmt.Errorf("%q is neither a prefix nor an address", text)}
	}
	return p.Masked(), nil
}

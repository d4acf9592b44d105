package agent

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

// The figures of BGP, read at the scrape.
var (
	descSession  = desc("weft_bgp_session_state", "1 for the state that the session is in.", "session", "state")
	descFlaps    = desc("weft_bgp_session_flaps_total", "Times that the session was lost.", "session")
	descError    = desc("weft_bgp_session_error", "1 for the kind of the session's last error, while it is not established.", "session", "error")
	descPrefixes = desc("weft_bgp_prefixes", "Prefixes on the session: received, accepted, rejected, stale, advertised.", "session", "family", "state")
	descSynced   = desc("weft_bgp_synced", "1 once the peers have told all of the family.", "family")
	descRoutes   = desc("weft_bgp_routes", "Learnt routes: wanted in the kernel, lacking there, refused, retained of an earlier life.", "state")
	descGroups   = desc("weft_bgp_nexthop_groups", "Sets of several next hops in use.")
	descAnnounce = desc("weft_bgp_announced", "Prefixes that this node announces.")
	descPending  = desc("weft_bgp_pending_resets", "Changes that wait for their turn to reset a session.")
	descBGPFault = desc("weft_bgp_problems", "Objects, or parts of them, that are not acted upon.")
)

// emit hands on one figure.
type emit func(d *prometheus.Desc, v float64, labels ...string)

// collectBGP reads the figures of a node that routes.
func (a *agent) collectBGP(gauge, counter emit) {
	s := a.routing.Status()
	if !s.Enabled {
		return
	}
	for _, session := range a.routing.Sessions() {
		collectSession(session, gauge)
		counter(descFlaps, float64(session.Flaps), session.Key)
	}
	for _, f := range fabric.Families {
		gauge(descSynced, number(a.routing.Synced(f)), f.String())
	}
	gauge(descAnnounce, float64(len(s.Announced)))
	gauge(descPending, float64(len(s.Pending)))
	gauge(descBGPFault, float64(len(s.Problems)))
	if sum := a.loop.summary.Load(); sum != nil {
		gauge(descRoutes, float64(sum.fib.Routes), "wanted")
		gauge(descRoutes, float64(sum.fib.Lacking), "lacking")
		gauge(descRoutes, float64(sum.fib.Refused), "refused")
		gauge(descRoutes, float64(sum.fib.Retained), "retained")
		gauge(descGroups, float64(sum.fib.Groups))
	}
}

func collectSession(s bgp.SessionStatus, gauge emit) {
	gauge(descSession, 1, s.Key, string(s.State))
	switch {
	case s.State == bgp.Held:
		gauge(descError, 1, s.Key, "held")
	case s.State != bgp.Established && s.LastError != "":
		gauge(descError, 1, s.Key, errorKind(s.LastError))
	}
	for _, f := range fabric.Families {
		have := s.Families.Get(f)
		if !have.Negotiated {
			continue
		}
		for _, n := range []struct {
			state string
			count uint64
		}{
			{"received", have.Received}, {"accepted", have.Accepted}, {"rejected", have.Rejected},
			{"stale", have.Stale}, {"advertised", have.Advertised},
		} {
			gauge(descPrefixes, float64(n.count), s.Key, f.String(), n.state)
		}
	}
}

// errorKind makes one of a few words of a session's error, as the speaker puts
// it: a label must not have as many values as there are sentences.
func errorKind(text string) string {
	text = strings.ToLower(text)
	for _, k := range []struct{ words, kind string }{
		{"no answer on", "connection"}, {"before its open", "connection"},
		{"wrong password", "password"}, {"gtsm:", "ttl"}, {"wrong as", "as"}, {"expects another as", "as"},
		{"family", "family"}, {"hold timer", "hold"}, {"prefixes", "prefixes"}, {"malformed", "malformed"},
		{"shut down", "shutdown"}, {"administrative", "shutdown"}, {"closed the session", "notification"},
		{"connect", "connection"}, {"reachable", "connection"}, {"come back", "connection"},
	} {
		if strings.Contains(text, k.words) {
			return k.kind
		}
	}
	return "other"
}

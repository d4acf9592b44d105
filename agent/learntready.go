package agent

import (
	"github.com/weft-net/weft/agent/routing"
	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

// reasons says why a node that routes is not ready. Where BGP is there only
// because the fabric is being moved to it, nothing rests on it yet.
func (l *learnt) reasons(spec *fabric.Spec, others int) []string {
	if !l.routing() || !spec.Plan().Routes(spec.PathRules) {
		return nil
	}
	switch s := l.from.Status(); {
	case s.State == routing.ShutDown || s.State == routing.ShuttingDown:
		return []string{"BGP is " + s.State + "; a new start of weftd undoes it"}
	case s.Reason != "":
		return []string{"BGP: " + s.Reason}
	case s.State != routing.Running:
		return []string{"BGP has not started yet"}
	case s.Sessions+s.Ranges == 0 && others == 0:
		return nil // alone
	case s.Sessions+s.Ranges == 0:
		return []string{"no BGPPeer object gives this node a session"}
	}
	if reason := noneEstablished(l.from.Sessions()); reason != "" {
		return []string{reason}
	}
	var out []string
	for _, f := range fabric.Families {
		if spec.Network.Get(f).IsValid() && !l.from.Synced(f) {
			out = append(out, "the BGP peers have not yet told all of their "+f.String()+" routes")
		}
	}
	return out
}

// noneEstablished says why no session is up; empty: one is.
func noneEstablished(sessions []bgp.SessionStatus) string {
	reason := ""
	for _, s := range sessions {
		if s.State == bgp.Established {
			return ""
		}
		if reason == "" || s.LastError != "" {
			reason = ": " + s.Key + " is " + string(s.State)
			if s.LastError != "" {
				reason += ", " + s.LastError
			}
		}
	}
	return "no BGP session is established" + reason
}

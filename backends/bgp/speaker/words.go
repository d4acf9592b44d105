package speaker

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/fabric"
)

// words turns a line of GoBGP's log about a session into a reason that an
// operator understands; empty where it is none. The lines are those of GoBGP
// v4.8.0's pkg/server/fsm.go and server.go.
func (r *row) words(message string, fields logrus.Fields, now func() drops) string {
	switch message {
	case "failed to connect":
		return r.dialWords(text(fields["Error"]), now())
	case "sent notification":
		return r.sentWords(number(fields["Code"]), number(fields["Subcode"]))
	case "received notification":
		return "the far end closed the session: " + notificationWords(number(fields["Code"]), number(fields["Subcode"])) +
			quoted(text(fields["Communicated-Reason"]))
	case "hold timer expired":
		return "hold timer expired: nothing was heard from the far end"
	case "outgoing connection IO error":
		return "the far end accepts the connection and closes it before its OPEN: it has no session with our address, or its session is shut down"
	case "Mismatched local address":
		return fmt.Sprintf("the far end connects to another of our addresses (%v) than this session's (%v)", fields["Addr"], fields["Configured addr"])
	case "Session will be reset due to malformed BGP message", "Session will be reset due to malformed BGP update message",
		"Session will be reset due to malformed BGP Header":
		return "the far end sent a malformed message: " + text(fields["Error"])
	case "cannot set TTL":
		return "the TTL cannot be set: " + text(fields["Error"])
	case "graceful restart timer expired":
		return "the far end did not come back within its restart time"
	}
	return ""
}

// sentWords: why we ended it, or refused to begin.
func (r *row) sentWords(code, subcode int) string {
	switch {
	case code == packet.BGP_ERROR_OPEN_MESSAGE_ERROR && subcode == packet.BGP_ERROR_SUB_BAD_PEER_AS:
		return fmt.Sprintf("wrong AS: the far end is not in AS %d, as configured here", r.session.RemoteASN)
	case code == packet.BGP_ERROR_CEASE && subcode == packet.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN:
		return "" // we did that, and said why
	case code == packet.BGP_ERROR_FSM_ERROR:
		// GoBGP's answer to whatever is no OPEN: a NOTIFICATION, as a rule.
		return r.refusedWords()
	case code == packet.BGP_ERROR_HOLD_TIMER_EXPIRED:
		return "hold timer expired: nothing was heard from the far end"
	}
	return "this end closed the session: " + notificationWords(code, subcode)
}

func ownWords(asn uint32) string {
	return fmt.Sprintf("wrong AS: the far end is in our own AS %d, and an external session is wanted", asn)
}

// refusedWords: GoBGP reads the NOTIFICATION that answers an OPEN and throws it
// away, so all that can be said is what such answers are about as a rule.
func (r *row) refusedWords() string {
	return fmt.Sprintf("the far end refuses our OPEN: it expects another AS than our %d, or has no address family in common with us; its log says which", r.asn)
}

// lostWords: why an established session ended of which the log said nothing.
func lostWords(state apiutil.PeerState) string {
	switch state.DisconnectReason {
	case api.PeerState_DISCONNECT_REASON_GRACEFUL_RESTART, api.PeerState_DISCONNECT_REASON_READ_FAILED, api.PeerState_DISCONNECT_REASON_WRITE_FAILED:
		return "the connection was lost without a NOTIFICATION: the far end restarts, crashed, or the path is gone"
	case api.PeerState_DISCONNECT_REASON_ADMIN_DOWN:
		return "shut down on this end"
	case api.PeerState_DISCONNECT_REASON_HOLD_TIMER_EXPIRED:
		return "hold timer expired: nothing was heard from the far end"
	case api.PeerState_DISCONNECT_REASON_DECONFIGURED:
		return "the session was removed or configured anew on this end"
	}
	return state.DisconnectMessage
}

// dialWords: why a connection cannot be opened. The kernel drops segments with a
// wrong signature or a low TTL without a word to us; it counts them.
func (r *row) dialWords(err string, now drops) string {
	before := r.drops
	r.drops = now
	port := int(r.session.Port)
	if port == 0 {
		port = fabric.BGPPort
	}
	switch {
	case strings.Contains(err, "refused"):
		return fmt.Sprintf("connection refused: nothing listens on TCP port %d of the far end", port)
	case strings.Contains(err, "unreachable"), strings.Contains(err, "no route to host"):
		return "the far end is not reachable: " + lastPart(err)
	case !strings.Contains(err, "timeout"):
		return "cannot connect: " + lastPart(err)
	}
	if why := r.dropWords(before, now); why != "" {
		return why
	}
	maybe := "it is down, or a filter is in the way, or it wants an MD5 password or GTSM"
	switch {
	case r.session.Password != "":
		maybe = "wrong password, or it is down, or a filter is in the way"
	case r.session.GTSM > 0:
		maybe = "it does not send with TTL 255 (GTSM), or it is down, or a filter is in the way"
	}
	return fmt.Sprintf("no answer on TCP port %d: %s", port, maybe)
}

// silentWords: why a connection is open and nothing comes on it.
func (r *row) silentWords(now drops) string {
	before := r.drops
	r.drops = now
	if why := r.dropWords(before, now); why != "" {
		return why
	}
	return "the connection is open and the far end is silent: one end only has GTSM, or packets of full size do not pass (MTU)"
}

// dropWords: what the kernel's counters say. They are the host's, not the
// session's; only sessions that can be meant look at each.
func (r *row) dropWords(before, now drops) string {
	switch {
	case r.session.Password != "" && now.wrong > before.wrong:
		return "wrong password: segments with another MD5 signature arrive"
	case r.session.Password != "" && now.missing > before.missing:
		return "wrong password: segments without an MD5 signature arrive, the far end has no password"
	case r.session.Password == "" && now.unexpected > before.unexpected:
		return "wrong password: segments with an MD5 signature arrive, this end has no password"
	case r.session.GTSM > 0 && now.lowTTL > before.lowTTL:
		return fmt.Sprintf("GTSM: packets arrive with a TTL below %d: the far end has no GTSM, or is further away", 256-int(r.session.GTSM))
	}
	return ""
}

// drops are the kernel's counters of TCP segments it dropped silently
// (TcpExt in /proc/net/netstat), in this network namespace.
type drops struct{ missing, unexpected, wrong, lowTTL uint64 }

func readDrops() drops {
	data, err := os.ReadFile("/proc/self/net/netstat")
	if err != nil {
		return drops{} // hints are all that is lost
	}
	var names []string
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "TcpExt:" {
			continue
		}
		if names == nil {
			names = words
			continue
		}
		value := map[string]uint64{}
		for i, w := range words[1:] {
			n, err := strconv.ParseUint(w, 10, 64)
			if err == nil && i+1 < len(names) {
				value[names[i+1]] = n
			}
		}
		return drops{
			missing: value["TCPMD5NotFound"], unexpected: value["TCPMD5Unexpected"],
			wrong: value["TCPMD5Failure"], lowTTL: value["TCPMinTTLDrop"],
		}
	}
	return drops{}
}

// notificationWords decodes a NOTIFICATION (RFC 4271, 4.5; RFC 4486; RFC 8538).
func notificationWords(code, subcode int) string {
	switch code {
	case packet.BGP_ERROR_MESSAGE_HEADER_ERROR:
		return "malformed message header"
	case packet.BGP_ERROR_OPEN_MESSAGE_ERROR:
		return openWords(subcode)
	case packet.BGP_ERROR_UPDATE_MESSAGE_ERROR:
		return fmt.Sprintf("malformed UPDATE (3/%d)", subcode)
	case packet.BGP_ERROR_HOLD_TIMER_EXPIRED:
		return "its hold timer expired"
	case packet.BGP_ERROR_FSM_ERROR:
		return fmt.Sprintf("unexpected message (5/%d)", subcode)
	case packet.BGP_ERROR_CEASE:
		return ceaseWords(subcode)
	}
	return fmt.Sprintf("NOTIFICATION %d/%d", code, subcode)
}

func openWords(subcode int) string {
	switch subcode {
	case 1:
		return "unsupported BGP version (2/1)"
	case packet.BGP_ERROR_SUB_BAD_PEER_AS:
		return "wrong AS: it expects another AS number of us (2/2)"
	case 3:
		return "bad router id: ours is not valid or the same as its own (2/3)"
	case 6:
		return "unacceptable hold time (2/6)"
	case 7:
		return "wrong family or capability: we have none that it wants (2/7)"
	}
	return fmt.Sprintf("our OPEN is refused (2/%d)", subcode)
}

func ceaseWords(subcode int) string {
	switch subcode {
	case 1:
		return "maximum number of prefixes reached: we announce too many (6/1)"
	case 2:
		return "administrative shutdown (6/2)"
	case 3:
		return "the session is not configured any more (6/3)"
	case 4:
		return "administrative reset (6/4)"
	case 5:
		return "connection rejected (6/5)"
	case 6:
		return "its configuration changed (6/6)"
	case 7:
		return "two connections collided (6/7)"
	case 8:
		return "out of resources (6/8)"
	case 9:
		return "hard reset (6/9)"
	case 10:
		return "BFD: the path is down (6/10)"
	}
	return fmt.Sprintf("cease (6/%d)", subcode)
}

func lastPart(s string) string {
	if i := strings.LastIndex(s, ": "); i >= 0 {
		return s[i+2:]
	}
	return s
}

// quoted is the far end's own words (RFC 9003), which are not to be trusted
// with a terminal.
func quoted(s string) string {
	if s == "" {
		return ""
	}
	return ": " + strconv.QuoteToGraphic(s)
}

func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case error:
		return v.Error()
	}
	return fmt.Sprint(v)
}

func number(v any) int {
	switch v := v.(type) {
	case int64:
		return int(v)
	case uint64:
		return int(v)
	case int:
		return v
	}
	return -1
}

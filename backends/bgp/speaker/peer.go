package speaker

import (
	"fmt"
	"net/netip"
	"reflect"
	"time"

	"github.com/osrg/gobgp/v4/api"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

const (
	// maxPassword is the longest key that the kernel takes (TCP_MD5SIG_MAXKEYLEN
	// in include/uapi/linux/tcp.h). GoBGP would listen without one instead.
	maxPassword = 80
	// idleAfterReset is the pause after a NOTIFICATION of ours, in seconds;
	// GoBGP's default is 30.
	idleAfterReset = 1
	// deferral is how long a restarted speaker waits with its announcements for
	// the end-of-RIB of all peers, in seconds; GoBGP's default of 360 would make
	// one dead peer hold up the others for that long.
	deferral = 3
)

// wire is all of a session that GoBGP is told: where two are equal, nothing has
// to be done.
type wire struct {
	bgp.Session
	restart, longLived time.Duration // of Global
}

// told strips a session of what GoBGP never hears of, or hears of through the
// policies.
func told(g bgp.Global, s bgp.Session) wire {
	s.Import, s.Export, s.Description, s.NextHopSelf, s.HeldDown, s.Key = nil, nil, "", false, "", ""
	s.MaxPrefixes = 0 // the speaker's own business, see limit
	if s.LocalASN == 0 {
		s.LocalASN = g.ASN
	}
	return wire{Session: s, restart: g.RestartTime, longLived: g.LongLived}
}

// resets reports whether turning w into next ends the session. Timers do not:
// they are told in the next OPEN.
func (w wire) resets(next wire) bool {
	w.Hold, w.Keepalive, w.ConnectRetry = next.Hold, next.Keepalive, next.ConnectRetry
	w.restart, w.longLived = next.restart, next.longLived
	return !reflect.DeepEqual(w, next)
}

// check says what makes a session impossible, before GoBGP hears of it: it
// would panic, refuse everybody, or go on without the password.
func check(s bgp.Session) error {
	switch {
	case s.HeldDown != "":
		return fmt.Errorf("%s", s.HeldDown)
	case !s.Families.IPv4 && !s.Families.IPv6:
		return fmt.Errorf("no address family is wanted on this session")
	case len(s.Password) > maxPassword:
		return fmt.Errorf("the MD5 password has %d bytes, the kernel takes %d", len(s.Password), maxPassword)
	case s.GTSM > 0 && s.Multihop > 0:
		return fmt.Errorf("multihop and GTSM exclude each other")
	case s.ReflectorClient && s.ClusterID.IsValid() && !s.ClusterID.Is4():
		return fmt.Errorf("cluster id %s is no IPv4 address", s.ClusterID)
	}
	for _, rules := range [][]bgp.Rule{s.Import, s.Export} {
		if _, err := newJudge(rules); err != nil {
			return err
		}
	}
	return nil
}

// peer is a session for GoBGP. Restarting tells the far end that this process
// is the successor of one whose routes are still forwarded on (RFC 4724, 3).
func (w wire) peer(addr netip.Addr, restarting bool) *api.Peer {
	return &api.Peer{
		Conf: &api.PeerConf{
			NeighborAddress: addr.String(),
			PeerAsn:         w.RemoteASN,
			LocalAsn:        w.LocalASN,
			AuthPassword:    string(w.Password),
			AllowOwnAsn:     uint32(w.AllowOwnASN),
		},
		Timers:          w.timers(),
		Transport:       w.transport(w.Passive),
		EbgpMultihop:    w.multihop(),
		TtlSecurity:     w.gtsm(),
		RouteReflector:  w.reflector(),
		GracefulRestart: w.gracefulRestart(restarting),
		AfiSafis:        w.afiSafis(),
	}
}

// group is a range for GoBGP, under a name. Its members never dial.
func (w wire) group(name string) *api.PeerGroup {
	return &api.PeerGroup{
		Conf: &api.PeerGroupConf{
			PeerGroupName: name,
			PeerAsn:       w.RemoteASN,
			LocalAsn:      w.LocalASN,
			AuthPassword:  string(w.Password),
			AllowOwnAsn:   uint32(w.AllowOwnASN),
		},
		Timers:          w.timers(),
		Transport:       w.transport(true),
		EbgpMultihop:    w.multihop(),
		TtlSecurity:     w.gtsm(),
		RouteReflector:  w.reflector(),
		GracefulRestart: w.gracefulRestart(false),
		AfiSafis:        w.afiSafis(),
	}
}

func seconds(d time.Duration) uint64 { return uint64(max(d, 0) / time.Second) }

func (w wire) timers() *api.Timers {
	return &api.Timers{Config: &api.TimersConfig{
		HoldTime: seconds(w.Hold), KeepaliveInterval: seconds(w.Keepalive), ConnectRetry: seconds(w.ConnectRetry),
		IdleHoldTimeAfterReset: idleAfterReset,
	}}
}

func (w wire) transport(passive bool) *api.Transport {
	t := &api.Transport{PassiveMode: passive, RemotePort: uint32(w.Port), BindInterface: w.SourceInterface}
	if w.SourceAddress.IsValid() {
		t.LocalAddress = w.SourceAddress.String()
	}
	return t
}

func (w wire) multihop() *api.EbgpMultihop {
	return &api.EbgpMultihop{Enabled: w.Multihop > 0, MultihopTtl: uint32(w.Multihop)}
}

// gtsm: a neighbour n hops away arrives with a TTL of 256-n at least (RFC 5082).
func (w wire) gtsm() *api.TtlSecurity {
	if w.GTSM == 0 {
		return &api.TtlSecurity{}
	}
	return &api.TtlSecurity{Enabled: true, TtlMin: 256 - uint32(w.GTSM)}
}

func (w wire) reflector() *api.RouteReflector {
	r := &api.RouteReflector{RouteReflectorClient: w.ReflectorClient}
	if w.ClusterID.IsValid() {
		r.RouteReflectorClusterId = w.ClusterID.String()
	}
	return r
}

func (w wire) gracefulRestart(restarting bool) *api.GracefulRestart {
	if w.restart <= 0 {
		return &api.GracefulRestart{}
	}
	return &api.GracefulRestart{
		Enabled:          true,
		RestartTime:      uint32(min(seconds(w.restart), 4095)), // 12 bits on the wire
		DeferralTime:     deferral,
		LonglivedEnabled: w.longLived > 0,
		LocalRestarting:  restarting,
	}
}

func (w wire) afiSafis() []*api.AfiSafi {
	var out []*api.AfiSafi
	for _, f := range fabric.Families {
		if !w.Families.Get(f) {
			continue
		}
		out = append(out, &api.AfiSafi{
			Config:            &api.AfiSafiConfig{Family: apiFamily(f), Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: w.restart > 0}},
			LongLivedGracefulRestart: &api.LongLivedGracefulRestart{Config: &api.LongLivedGracefulRestartConfig{
				Enabled: w.longLived > 0, RestartTime: uint32(min(seconds(w.longLived), 1<<24-1)), // 24 bits
			}},
		})
	}
	return out
}

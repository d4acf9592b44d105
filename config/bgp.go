package config

import (
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/weft-net/weft/fabric"
)

const (
	// A Hold Time is zero or at least three seconds, in 16 bits (RFC 4271,
	// section 4.2). Zero, which never notices a dead peer, cannot be asked for.
	minHold = 3 * time.Second
	maxHold = 65535 * time.Second
	// keepalivesPerHold is how many of them a hold time has (RFC 4271,
	// section 10).
	keepalivesPerHold = 3
	minConnectRetry   = 2 * time.Second // the speaker dials no faster
	maxConnectRetry   = time.Hour
	// The Restart Time has 12 bits (RFC 4724, section 3), the Long-Lived Stale
	// Time 24 (RFC 9494, section 3).
	maxRestart   = 4095 * time.Second
	maxLongLived = (1<<24 - 1) * time.Second
	maxMultipath = 64
)

// defaultASNLabel is the label that asn: perLabel goes by.
const defaultASNLabel = "rack"

func defaultBGP() fabric.BGPSpec {
	return fabric.BGPSpec{
		ASN: fabric.ASNPerNode, RouterID: fabric.RouterIDUnderlay, Port: fabric.BGPPort,
		GracefulRestart: fabric.BGPRestart{Enabled: true, Time: fabric.BGPRestartTime},
		LongLived:       fabric.BGPRestart{Time: fabric.BGPLongLivedTime},
		Multipath:       fabric.BGPMultipath,
	}
}

// storedBGP is spec.bgp as it is stored: not at all for a fabric that does not
// route and says nothing of BGP, as earlier versions wrote it.
func storedBGP(s *fabric.Spec) fabric.BGPSpec {
	silent := fabric.Spec{BGP: defaultBGP()}
	completeBGP(&silent)
	if !s.Plan().Routes(s.PathRules) && reflect.DeepEqual(s.BGP, silent.BGP) {
		return fabric.BGPSpec{}
	}
	return s.BGP
}

// completeBGP fills in spec.bgp.
func completeBGP(s *fabric.Spec) {
	b := &s.BGP
	if b.ASN == fabric.ASNPerLabel && b.ASNLabel == "" {
		b.ASNLabel = defaultASNLabel
	}
	if b.Timers.Hold == 0 {
		b.Timers.Hold = fabric.BGPHold
	}
	if b.Timers.ConnectRetry == 0 {
		b.Timers.ConnectRetry = fabric.BGPConnectRetry
	}
	completeKeepalive(&b.Timers)
	if b.GracefulRestart.Time == 0 {
		b.GracefulRestart.Time = fabric.BGPRestartTime
	}
	if b.LongLived.Time == 0 {
		b.LongLived.Time = fabric.BGPLongLivedTime
	}
}

// completeKeepalive gives a hold time its keepalives, in whole seconds.
func completeKeepalive(t *fabric.BGPTimers) {
	if t.Keepalive == 0 {
		t.Keepalive = fabric.Duration(time.Duration(t.Hold / keepalivesPerHold).Truncate(time.Second))
	}
}

func validateBGP(s *fabric.Spec) *problem {
	b := &s.BGP
	for _, check := range []func(*fabric.BGPSpec) *problem{
		validateFabricASN, validateListen, validateRestart, validateBMP,
	} {
		if err := check(b); err != nil {
			return err
		}
	}
	if err := validateTimers("bgp.timers", b.Timers); err != nil {
		return err
	}
	switch known := []string{fabric.RouterIDUnderlay, fabric.RouterIDIndex}; {
	case !slices.Contains(known, b.RouterID):
		return problemf("bgp.routerID", "%q is not a way to choose it, want underlay or index%s", b.RouterID, didYouMean(nearest(b.RouterID, known)))
	case b.Multipath < 1 || b.Multipath > maxMultipath:
		return problemf("bgp.multipath", "%d is out of range (1 to %d)", b.Multipath, maxMultipath)
	}
	return nil
}

func validateFabricASN(b *fabric.BGPSpec) *problem {
	switch {
	case b.ASN == fabric.ASNPerLabel && len(b.ASNs) == 0:
		return problemf("bgp.asns", "is missing, asn: perLabel needs the number of each value of the label (like {r1: 65001, r2: 65002})")
	case b.ASN != fabric.ASNPerLabel && len(b.ASNs) > 0:
		return problemf("bgp.asns", "is set, but asn is not perLabel")
	case b.ASN != fabric.ASNPerLabel && b.ASNLabel != "":
		return problemf("bgp.asnLabel", "is set, but asn is not perLabel")
	case b.ASN == fabric.ASNPerNode:
		return nil
	case b.ASN != fabric.ASNPerLabel:
		known := []string{fabric.ASNPerNode, fabric.ASNPerLabel}
		if _, err := ParseASN(b.ASN); err != nil {
			return problemf("bgp.asn", "%v; want a number, perNode or perLabel%s", err, didYouMean(nearest(b.ASN, known)))
		}
		return nil
	}
	if err := checkLabelKey(b.ASNLabel); err != nil {
		return problemf("bgp.asnLabel", "%v", err)
	}
	for _, value := range slices.Sorted(maps.Keys(b.ASNs)) {
		at := join("bgp.asns", value)
		if err := checkLabelValue(value); err != nil {
			return problemf(at, "%v", err)
		}
		if err := checkASN(b.ASNs[value]); err != nil {
			return problemf(at, "%v", err)
		}
	}
	return nil
}

func validateListen(b *fabric.BGPSpec) *problem {
	if b.Port == 0 {
		return problemf("bgp.port", "0 is not a TCP port (1 to 65535)")
	}
	for i, a := range b.Listen {
		at := item("bgp.listen", i)
		switch {
		case !a.IsValid():
			return problemf(at, "is not an IP address (like 192.0.2.1 or 2001:db8::1)")
		case a.Zone() != "" || a.Is4In6() || a.IsMulticast():
			return problemf(at, "%s is not an address of a host", a)
		case slices.Contains(b.Listen[:i], a):
			return problemf(at, "%s is listed twice", a)
		}
	}
	return nil
}

func validateRestart(b *fabric.BGPSpec) *problem {
	for _, r := range []struct {
		path string
		set  fabric.BGPRestart
		most time.Duration
	}{
		{"bgp.gracefulRestart.time", b.GracefulRestart, maxRestart},
		{"bgp.longLivedGracefulRestart.time", b.LongLived, maxLongLived},
	} {
		if err := checkSeconds(r.path, r.set.Time, span{time.Second, r.most}); err != nil {
			return err
		}
	}
	if b.LongLived.Enabled && !b.GracefulRestart.Enabled {
		return problemf("bgp.longLivedGracefulRestart.enabled", "is true, but gracefulRestart is not enabled, which it builds upon (RFC 9494, section 4.1)")
	}
	return nil
}

func validateBMP(b *fabric.BGPSpec) *problem {
	for i, station := range b.BMP {
		at := item("bgp.bmp", i)
		if err := checkFarEnd(station); err != nil {
			return problemf(at, "%v", err)
		}
		if slices.Contains(b.BMP[:i], station) {
			return problemf(at, "%s is listed twice", station)
		}
	}
	return nil
}

// validateTimers accepts timers of which those that are zero are not set.
func validateTimers(path string, t fabric.BGPTimers) *problem {
	for _, c := range []struct {
		name   string
		value  fabric.Duration
		within span
	}{
		{"hold", t.Hold, span{minHold, maxHold}},
		{"keepalive", t.Keepalive, span{time.Second, maxHold / keepalivesPerHold}},
		{"connectRetry", t.ConnectRetry, span{minConnectRetry, maxConnectRetry}},
	} {
		if c.value == 0 {
			continue
		}
		if err := checkSeconds(join(path, c.name), c.value, c.within); err != nil {
			return err
		}
	}
	if t.Hold != 0 && t.Keepalive > t.Hold/keepalivesPerHold {
		return problemf(join(path, "keepalive"), "%s is more than a third of hold (%s): one that is late would end the session", t.Keepalive, t.Hold)
	}
	return nil
}

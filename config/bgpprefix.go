package config

import (
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/weft-net/weft/fabric"
)

// What a health condition has where its file says nothing.
const (
	healthInterval = fabric.Duration(2 * time.Second)
	healthTimeout  = fabric.Duration(time.Second)
	healthRise     = 2
	healthFall     = 3

	maxHealthCount = 100
)

func newBGPPrefix() *fabric.BGPPrefixSpec { return new(fabric.BGPPrefixSpec) }

func completeBGPPrefix(s *fabric.BGPPrefixSpec) {
	h := s.Health
	if h == nil {
		return
	}
	if h.Interval == 0 {
		h.Interval = healthInterval
	}
	if h.Timeout == 0 {
		h.Timeout = min(healthTimeout, h.Interval)
	}
	if h.Rise == 0 {
		h.Rise = healthRise
	}
	if h.Fall == 0 {
		h.Fall = healthFall
	}
}

func validateBGPPrefix(s *fabric.BGPPrefixSpec) *problem {
	if err := validateSelector("nodes", s.Nodes); err != nil {
		return err
	}
	switch n := len(s.Prefixes); {
	case n == 0:
		return problemf("prefixes", "is missing, want at least one (like [203.0.113.7/32])")
	case n > maxItems:
		return problemf("prefixes", "has %d, want %d at most", n, maxItems)
	}
	for i, p := range s.Prefixes {
		at := item("prefixes", i)
		if err := validatePrefix(at, p); err != nil {
			return err
		}
		if p.Bits() == 0 {
			return problemf(at, "%s would draw all of the network's traffic to these nodes", p)
		}
		if slices.Contains(s.Prefixes[:i], p) {
			return problemf(at, "%s is listed twice", p)
		}
		for _, u := range unusable {
			if u.prefix.Contains(p.Addr()) && u.prefix.Bits() <= p.Bits() {
				return problemf(at, "%s is %s, which is not announced", p, u.what)
			}
		}
	}
	if s.Health != nil {
		if err := validateHealth(s.Health); err != nil {
			return err
		}
	}
	return validateAttributes("", &s.BGPAttributes)
}

func validateHealth(h *fabric.BGPHealth) *problem {
	var set []string
	for _, c := range []struct {
		name, value string
		check       func(string) error
	}{
		{"tcp", h.TCP, checkFarEnd},
		{"http", h.HTTP, checkURL},
		{"interface", h.Interface, func(s string) error { _, err := parseInterface(s); return err }},
	} {
		if c.value == "" {
			continue
		}
		if err := c.check(c.value); err != nil {
			return problemf("health."+c.name, "%v", err)
		}
		set = append(set, c.name)
	}
	switch {
	case len(set) == 0:
		return problemf("health", "has no condition, want one of tcp, http, interface")
	case len(set) > 1:
		return problemf("health."+set[1], "health.%s is set too, want one of them", set[0])
	case h.Timeout > h.Interval:
		return problemf("health.timeout", "%s is longer than interval (%s)", h.Timeout, h.Interval)
	case h.Rise < 1 || h.Rise > maxHealthCount:
		return problemf("health.rise", "%d is out of range (1 to %d)", h.Rise, maxHealthCount)
	case h.Fall < 1 || h.Fall > maxHealthCount:
		return problemf("health.fall", "%d is out of range (1 to %d)", h.Fall, maxHealthCount)
	}
	for _, c := range []struct {
		path  string
		value fabric.Duration
		least time.Duration
	}{{"health.interval", h.Interval, 100 * time.Millisecond}, {"health.timeout", h.Timeout, 10 * time.Millisecond}} {
		if v := time.Duration(c.value); v < c.least || v > time.Hour {
			return problemf(c.path, "%s is out of range (%s to 1h)", c.value, fabric.Duration(c.least))
		}
	}
	return nil
}

// checkURL accepts what a probe can get without a secret. It quotes nothing,
// as there may be one.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err == nil && u.User != nil:
		return errors.New("holds a user, want a URL that needs no secret")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return errors.New("is not a URL (like http://192.0.2.1:8080/healthz)")
	}
	return nil
}

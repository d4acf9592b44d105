package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/weft-net/weft/fabric"
)

// AS numbers that no speaker may have: RFC 7607, RFC 6793 section 9, RFC 7300.
const (
	asZero     = 0
	asTrans    = 23456
	asLast16   = 65535
	asLast32   = 4294967295
	maxPrepend = 32
)

// ParseASN reads an AS number in decimal.
func ParseASN(s string) (uint32, error) {
	high, low, isDotted := strings.Cut(s, ".")
	if h, errH := parse16(high); isDotted && errH == nil {
		if l, errL := parse16(low); errL == nil { // asdot, RFC 5396
			return 0, fmt.Errorf("%q is not an AS number in decimal (did you mean %d?)", s, h<<16|l)
		}
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not an AS number (1 to %d)", s, uint32(asLast32-1))
	}
	return uint32(n), checkASN(uint32(n))
}

func parse16(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint32(n), err
}

func checkASN(n uint32) error {
	switch n {
	case asZero:
		return errors.New("AS 0 belongs to nobody (RFC 7607)")
	case asTrans:
		return errors.New("AS 23456 stands for numbers that an old speaker cannot write (AS_TRANS, RFC 6793)")
	case asLast16, asLast32:
		return fmt.Errorf("AS %d is reserved (RFC 7300)", n)
	}
	return nil
}

// wellKnown are the communities that have names, by IANA's registry.
var wellKnown = map[string]uint32{
	"graceful-shutdown":   0xffff0000, // RFC 8326
	"accept-own":          0xffff0001, // RFC 7611
	"llgr-stale":          0xffff0006, // RFC 9494
	"no-llgr":             0xffff0007, // RFC 9494
	"blackhole":           0xffff029a, // RFC 7999
	"no-export":           0xffffff01, // RFC 1997
	"no-advertise":        0xffffff02, // RFC 1997
	"no-export-subconfed": 0xffffff03, // RFC 1997
	"no-peer":             0xffffff04, // RFC 3765
}

// ParseCommunity reads a community (RFC 1997): two numbers of 16 bits, like
// "65000:100", or a well-known name, like "no-export".
func ParseCommunity(s string) (uint32, error) {
	if c, ok := wellKnown[s]; ok {
		return c, nil
	}
	high, low, _ := strings.Cut(s, ":")
	h, errH := parse16(high)
	l, errL := parse16(low)
	if errH != nil || errL != nil {
		names := make([]string, 0, len(wellKnown))
		for name := range wellKnown {
			names = append(names, name)
		}
		slices.Sort(names)
		return 0, fmt.Errorf("%q is not a community (like 65000:100 or no-export)%s", s, didYouMean(nearest(s, names)))
	}
	return h<<16 | l, nil
}

// ParseLargeCommunity reads a large community (RFC 8092): three numbers of 32
// bits in decimal, like "65000:1:2".
func ParseLargeCommunity(s string) (c [3]uint32, err error) {
	parts := strings.Split(s, ":")
	isOne := len(parts) == len(c)
	for i := 0; isOne && i < len(c); i++ {
		n, err := strconv.ParseUint(parts[i], 10, 32)
		isOne = err == nil
		c[i] = uint32(n)
	}
	if !isOne {
		return [3]uint32{}, fmt.Errorf("%q is not a large community (three numbers, like 65000:1:2)", s)
	}
	return c, nil
}

// asBoundary is what "_" stands for in a regular expression on AS paths, as
// the speaker has it (ASPATH_REGEXP_MAGIC in gobgp's internal/pkg/table).
const asBoundary = "(^|[,{}() ]|$)"

// ParseASPath compiles a regular expression on AS paths, in which "_" is a
// boundary between numbers. It is matched against a path as text, numbers
// separated by blanks: "65001 65002".
func ParseASPath(s string) (*regexp.Regexp, error) {
	const most = 1024
	if len(s) > most {
		return nil, fmt.Errorf("is longer than %d characters", most)
	}
	re, err := regexp.Compile(strings.ReplaceAll(s, "_", asBoundary))
	if err != nil {
		return nil, fmt.Errorf("%q is not a regular expression on AS paths (like ^65001_ or _65010$; _ is a boundary)", s)
	}
	return re, nil
}

// span is a range of durations, both ends in it.
type span struct{ least, most time.Duration }

// checkSeconds accepts whole seconds within a range.
func checkSeconds(path string, d fabric.Duration, in span) *problem {
	v := time.Duration(d)
	switch {
	case v < in.least || v > in.most:
		return problemf(path, "%s is out of range (%s to %s)", d, fabric.Duration(in.least), fabric.Duration(in.most))
	case v%time.Second != 0:
		return problemf(path, "%s is not whole seconds", d)
	}
	return nil
}

// item is the path of an item of a list.
func item(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// checkFarEnd accepts host:port of another machine.
func checkFarEnd(s string) error {
	_, err := parseHostPort(s)
	host, port, _ := net.SplitHostPort(s)
	if err != nil || host == "" || port == "0" {
		return fmt.Errorf("%q is not host:port (like 192.0.2.1:8080)", s)
	}
	return nil
}

// checkPeerAddress accepts an address that a neighbour can have.
func checkPeerAddress(a netip.Addr) error {
	switch {
	case a.Is4In6():
		return fmt.Errorf("%s is an IPv4 address written as IPv6 (did you mean %s?)", a, a.Unmap())
	case a.IsLinkLocalUnicast() && a.Is6():
		return fmt.Errorf("%s is link-local, which needs the interface (set interface instead)", a)
	case a.Zone() != "", a.IsUnspecified(), a.IsMulticast():
		return fmt.Errorf("%s is not an address that a neighbour has", a)
	}
	return nil
}

// checkText accepts one line that a terminal can show.
func checkText(s string) error {
	const most = 255
	if len(s) > most || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return fmt.Errorf("is not one line of up to %d bytes", most)
	}
	return nil
}

// Labels follow the rules of Kubernetes' labels, so that they can be copied.
var (
	labelName   = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)
	labelPrefix = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)
)

func checkLabelKey(key string) error {
	prefix, name, hasPrefix := strings.Cut(key, "/")
	if !hasPrefix {
		prefix, name = "weft", key
	}
	if !labelPrefix.MatchString(prefix) || !labelName.MatchString(name) {
		return fmt.Errorf("%q is not the key of a label (letters, digits, dashes, dots, underscores, like rack or example.net/rack)", key)
	}
	return nil
}

func checkLabelValue(value string) error {
	if value != "" && !labelName.MatchString(value) {
		return fmt.Errorf("%q is not the value of a label (up to 63 letters, digits, dashes, dots, underscores)", value)
	}
	return nil
}

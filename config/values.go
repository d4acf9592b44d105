package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/fabric"
)

type addr = netip.Addr

func parseText(s string) (string, error) { return s, nil }

// parseNodeName accepts a DNS subdomain name (RFC 1123, lower case): it is a
// part of etcd keys and the name in everything that people read.
func parseNodeName(s string) (string, error) {
	if len(s) > 253 {
		return "", fmt.Errorf("%q is longer than the 253 characters of a host name", s)
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return "", fmt.Errorf("%q is not a host name in lower case (letters, digits, dashes, like rack1-host7)", s)
		}
	}
	return s, nil
}

// isLabel reports whether s is one label of a host name (RFC 1123).
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-')
	})
}

func parseNodeID(s string) (fabric.NodeID, error) {
	isOther := func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if len(s) > 64 || strings.ContainsFunc(s, isOther) {
		return "", fmt.Errorf("%q is not an id (up to 64 letters, digits, dashes, dots and underscores)", s)
	}
	return fabric.NodeID(s), nil
}

// parseEndpoints accepts URLs and bare host:port; completeEtcd gives the
// latter their scheme.
func parseEndpoints(s string) ([]string, error) {
	var out []string
	for e := range strings.SplitSeq(s, ",") {
		u, err := parseEndpoint(strings.TrimSpace(e))
		if err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

func parseEndpoint(s string) (string, error) {
	const want = "(want http:// or https:// with host and port, like https://192.0.2.1:2379)"
	if strings.Contains(s, "@") { // never printed: it may hold a password
		return "", errors.New("an endpoint holds a user; set etcd.username and etcd.passwordFile instead")
	}
	scheme, rest, isURL := strings.Cut(s, "://")
	if !isURL {
		scheme, rest = "", s
	}
	rest = strings.TrimSuffix(rest, "/")
	if _, err := parseHostPort(rest); err != nil || strings.HasPrefix(rest, ":") || isURL && scheme != "http" && scheme != "https" {
		return "", fmt.Errorf("%q is not an etcd endpoint %s", s, want)
	}
	if !isURL {
		return rest, nil
	}
	if _, err := url.Parse(scheme + "://" + rest); err != nil {
		return "", fmt.Errorf("%q is not an etcd endpoint %s", s, want)
	}
	return scheme + "://" + rest, nil
}

func parsePrefix(s string) (string, error) {
	out := strings.TrimRight(s, "/")
	if !strings.HasPrefix(out, "/") || strings.Contains(out, "//") || strings.ContainsAny(out, " \t\n") {
		return "", fmt.Errorf("%q is not a prefix of etcd keys (like /weft/v1)", s)
	}
	return out, nil
}

func parsePath(s string) (string, error) {
	if !filepath.IsAbs(s) {
		return "", fmt.Errorf("%q is not an absolute path", s)
	}
	return filepath.Clean(s), nil
}

// parseFile accepts a file that is there. Whether it can be read and makes
// sense shows when it is used: the command line may run as another user.
func parseFile(s string) (string, error) {
	path, err := parsePath(s)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	var pathErr *os.PathError
	switch {
	case errors.As(err, &pathErr):
		return "", fmt.Errorf("%s: %w", path, pathErr.Err)
	case err != nil:
		return "", err
	case info.IsDir():
		return "", fmt.Errorf("%s is a directory, want a file", path)
	}
	return path, nil
}

func parseTimeout(s string) (time.Duration, error) {
	var d fabric.Duration
	if err := d.UnmarshalText([]byte(s)); err != nil {
		return 0, err
	}
	if v := time.Duration(d); v < 100*time.Millisecond || v > time.Hour {
		return 0, fmt.Errorf("%s is out of range (100ms to 1h)", s)
	}
	return time.Duration(d), nil
}

// parseLabels accepts key=value, several joined by commas.
func parseLabels(s string) (map[string]string, error) {
	labels := make(map[string]string)
	for pair := range strings.SplitSeq(s, ",") {
		key, value, isPair := strings.Cut(strings.TrimSpace(pair), "=")
		if !isPair {
			return nil, fmt.Errorf("%q is not a label (like rack=r1)", pair)
		}
		if err := checkLabelKey(key); err != nil {
			return nil, err
		}
		if err := checkLabelValue(value); err != nil {
			return nil, err
		}
		if _, ok := labels[key]; ok {
			return nil, fmt.Errorf("label %s is set twice", key)
		}
		labels[key] = value
	}
	return labels, nil
}

// parseInterface accepts what the kernel does (dev_valid_name in
// net/core/dev.c).
func parseInterface(s string) (string, error) {
	if len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/: \t\n") {
		return "", fmt.Errorf("%q is not the name of an interface (up to 15 characters, like eth0)", s)
	}
	return s, nil
}

// parseAddr accepts an address that a host can have.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address (like 192.0.2.1 or 2001:db8::1)", s)
	}
	a = a.Unmap()
	switch {
	case a.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%s has a zone; set underlay.interface instead", s)
	case a.IsLoopback(), a.IsUnspecified(), a.IsMulticast():
		return netip.Addr{}, fmt.Errorf("%s is not an address that other hosts can reach", s)
	}
	return a, nil
}

func parseBool(s string) (bool, error) {
	if s != "true" && s != "false" {
		return false, fmt.Errorf("%q is not true or false", s)
	}
	return s == "true", nil
}

func parseHostPort(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || strings.ContainsAny(host, " \t\n/?#%") {
		return "", fmt.Errorf("%q is not host:port (like 127.0.0.1:9479)", s)
	}
	return s, nil
}

func oneOf(known ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if slices.Contains(known, s) {
			return s, nil
		}
		return "", fmt.Errorf("%q is not one of %s%s", s, strings.Join(known, ", "), didYouMean(nearest(s, known)))
	}
}

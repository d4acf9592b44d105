package lab

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// owned are the sysctls of a host that weft sets, or that the kernel changes
// with them: forwarding, the check of sources, the choice among ways.
var owned = regexp.MustCompile(`^net\.(ipv4\.ip_forward(_use_pmtu)?|ipv[46]\.fib_multipath_hash_policy|ipv[46]\.conf\..*\.(forwarding|rp_filter|accept_ra)) `)

// counted are sysctls that the kernel counts in.
var counted = regexp.MustCompile(`^net\.netfilter\.nf_conntrack_count `)

// foreign is everything of routes, rules, nexthop objects, addresses and
// sysctls that is not weft's, by line, in the order in which tools print it.
func (h *Host) foreign(ctx context.Context, t *testing.T) []string {
	t.Helper()
	var out []string
	for _, cmd := range []string{
		"ip -o -4 route show table all", "ip -o -6 route show table all", "ip -4 rule", "ip -6 rule", "ip nexthop",
		"ip -o addr", "sysctl -a --pattern ^net",
	} {
		words := strings.Fields(cmd)
		text, err := h.Run(ctx, words[0], words[1:]...)
		must(t, err)
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); !weftOwns(line) {
				out = append(out, fmt.Sprintf("%s: %s", cmd, line))
			}
		}
	}
	return out
}

// weftOwns reports whether a line is about something of weft's or of a pod's.
func weftOwns(line string) bool {
	return strings.Contains(line, "proto 158") || strings.Contains(line, "dev weft") || strings.Contains(line, ": weft") ||
		strings.Contains(line, ".weft") || owned.MatchString(line) || counted.MatchString(line)
}

func wantForeign(t *testing.T, when string, before, now []string) {
	t.Helper()
	if d := cmp.Diff(before, now); d != "" {
		t.Errorf("what is not weft's changed %s (-before +now):\n%s", when, d)
	}
	if len(before) < 500 {
		t.Errorf("%d lines are too few to be a host's state", len(before))
	}
}

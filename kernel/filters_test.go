package kernel

import (
	"strings"
	"testing"
)

// Chains that drop what they do not know are named; those that accept, that
// are at other hooks or are weft's own are not.
func TestForwardFilters(t *testing.T) {
	underlay(t)
	names := func() string {
		t.Helper()
		got, err := ForwardFilters()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(got, ", ")
	}
	if got := names(); got != "" {
		t.Errorf("in an empty ruleset: %s", got)
	}
	run(t, "nft", "-f", "testdata/filters.nft")
	before := run(t, "nft", "list", "ruleset")
	want := "bridge guard through (hook forward), inet firewalld filter_INPUT (hook input), ip filter FORWARD (hook forward), ip6 filter FORWARD (hook forward)"
	if got := names(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if after := run(t, "nft", "list", "ruleset"); after != before {
		t.Errorf("it changed the ruleset to %s", after)
	}
}

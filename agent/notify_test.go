package agent

import (
	"slices"
	"testing"
)

// READY is said once, at the first clean round; the status line follows changes.
func TestNotify(t *testing.T) {
	var said []string
	n := &notifier{send: func(s string) { said = append(said, s) }}
	broken := &summary{reasons: []string{"no lease", "two\nlines"}}
	clean := &summary{ready: true, desired: 1}
	for _, s := range []*summary{broken, broken, clean, clean, broken, clean} {
		n.round(s)
	}
	want := []string{
		"STATUS=not ready: no lease; two lines", "READY=1", "STATUS=ready, 1 peer",
		"STATUS=not ready: no lease; two lines", "STATUS=ready, 1 peer",
	}
	if !slices.Equal(said, want) {
		t.Errorf("got %q\nwant %q", said, want)
	}
}

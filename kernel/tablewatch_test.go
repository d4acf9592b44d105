package kernel

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/kernel/rtnl"
)

func watchTable(t *testing.T) *TableWatch {
	t.Helper()
	testns.New(t)
	w, err := NewTableWatch(unix.NFPROTO_BRIDGE, "weft")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// Whatever is taken out of the watched table concerns it; other tables, and
// elements that come, do not.
func TestTableWatchConcerns(t *testing.T) {
	w := watchTable(t)
	defer w.conn.Close()
	const full = "add table bridge weft; add set bridge weft s { type ether_addr; }; add chain bridge weft c; add rule bridge weft c drop"
	for _, c := range []struct {
		command string
		want    bool
	}{
		{"add table bridge other; add chain bridge other c; delete table bridge other", false},
		{"add table inet weft; delete table inet weft", false},
		{full, true},
		{"add element bridge weft s { 02:00:00:00:00:01, 02:00:00:00:00:02 }", false},
		{"delete element bridge weft s { 02:00:00:00:00:01 }", true},
		{"flush set bridge weft s", true},
		{"flush chain bridge weft c", true},
		{"delete table bridge weft", true},
		{full, true},
		{"flush ruleset", true},
		{"flush ruleset", false},
	} {
		testns.Run(t, "nft", c.command)
		got := false
		if err := w.conn.Drain(func(m rtnl.Message) { got = got || w.concerns(m) }); err != nil {
			t.Fatal(err)
		}
		if got != c.want {
			t.Errorf("nft %q: got %v", c.command, got)
		}
	}
}

func TestTableWatchTells(t *testing.T) {
	w := watchTable(t)
	told := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- w.Run(ctx, func() {
			select {
			case told <- struct{}{}:
			default:
			}
		})
	}()
	for _, command := range []string{"add table bridge weft", "delete table bridge weft"} {
		testns.Run(t, "nft", command)
		select {
		case <-told:
		case <-time.After(time.Minute):
			t.Errorf("nft %s: nothing was told", command)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

package cli

import (
	"strings"
	"testing"
)

func TestTableIsCutToTheScreen(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, c := range []struct {
		name string
		rows [][]string
	}{
		{"short", [][]string{{"a", "b", "c"}}},
		{"exactly 80", [][]string{{strings.Repeat("a", 26), strings.Repeat("b", 25), strings.Repeat("c", 25)}}},
		{"one too many", [][]string{{strings.Repeat("a", 27), strings.Repeat("b", 25), strings.Repeat("c", 25)}}},
		{"long name", [][]string{{long, "10.244.7.0/24", "in use"}, {"b", "10.244.8.0/24", "in use"}}},
		{"all long", [][]string{{long, long, long}}},
		{"not ASCII", [][]string{{strings.Repeat("ü", 100), "b", "c"}}},
		{"empty cells", [][]string{{"", "", ""}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab := newTable(false, "NAME…", "SUBNET", "STATE")
			for _, r := range c.rows {
				tab.add(r...)
			}
			text := tab.String()
			checkWidth(t, text)
			if n := strings.Count(text, "\n"); n != 1+len(c.rows) {
				t.Errorf("%d lines, want %d:\n%s", n, 1+len(c.rows), text)
			}
		})
	}
}

func TestTableCutsTheMarkedColumnFirst(t *testing.T) {
	tab := newTable(false, "NAME…", "SUBNET", "REASON…")
	subnet := strings.Repeat("s", 60)
	tab.add(strings.Repeat("n", 12), subnet, "a short reason")
	text := tab.String()
	if !strings.Contains(text, subnet) || !strings.Contains(text, "…") {
		t.Errorf("got\n%s", text)
	}
	checkWidth(t, text)
}

func TestWideTableIsNotCut(t *testing.T) {
	tab := newTable(true, "NAME…", "STATE")
	long := strings.Repeat("x", 300)
	tab.add(long, "s")
	if text := tab.String(); !strings.Contains(text, long) {
		t.Errorf("got\n%s", text)
	}
}

func TestTableWithoutRowsIsNothing(t *testing.T) {
	if text := newTable(false, "NAME").String(); text != "" {
		t.Errorf("got %q", text)
	}
}

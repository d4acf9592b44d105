package cli

import (
	"strings"
	"unicode/utf8"
)

const (
	screen = 80 // columns of a terminal that nobody made larger
	gap    = 2  // between columns
	narrow = 6  // no column is cut below this
)

// table is text in columns. Its default form is cut to fit a screen: first
// the columns that say how, then whatever is widest.
type table struct {
	head []string
	cut  []bool // may be cut before the others are
	rows [][]string
	wide bool // as wide as it takes
}

// newTable makes a table with a heading for each column; a heading that ends
// in "…" marks a column that may be cut first.
func newTable(wide bool, head ...string) *table {
	t := &table{wide: wide}
	for _, h := range head {
		name, cut := strings.CutSuffix(h, "…")
		t.head = append(t.head, name)
		t.cut = append(t.cut, cut)
	}
	return t
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) String() string {
	if len(t.rows) == 0 {
		return ""
	}
	lines := append([][]string{t.head}, t.rows...)
	width := make([]int, len(t.head))
	for _, line := range lines {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	if !t.wide {
		t.fit(width)
	}
	var b strings.Builder
	for _, line := range lines {
		var row strings.Builder
		for i, cell := range line {
			text := shorten(cell, width[i])
			row.WriteString(text)
			row.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(text)+gap))
		}
		b.WriteString(strings.TrimRight(row.String(), " "))
		b.WriteByte('\n')
	}
	return b.String()
}

// fit narrows columns until the line fits the screen.
func (t *table) fit(width []int) {
	over := gap*(len(width)-1) - screen
	for _, w := range width {
		over += w
	}
	for over > 0 {
		i := t.widest(width, true)
		if i < 0 {
			i = t.widest(width, false)
		}
		if i < 0 {
			return // too many columns for any screen
		}
		width[i]--
		over--
	}
}

// widest finds the widest column that may be narrowed, or -1.
func (t *table) widest(width []int, onlyCut bool) int {
	best := -1
	for i, w := range width {
		least := max(narrow, utf8.RuneCountInString(t.head[i]))
		if w > least && (t.cut[i] || !onlyCut) && (best < 0 || w > width[best]) {
			best = i
		}
	}
	return best
}

// shorten cuts a cell to a width in characters.
func shorten(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

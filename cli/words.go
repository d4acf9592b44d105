package cli

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weft-net/weft/fabric"
)

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// count says how many in words: "1 subnet is", "3 subnets are".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// list writes values next to each other, "-" if there is none.
func list[T fmt.Stringer](items []T) string {
	if len(items) == 0 {
		return "-"
	}
	text := make([]string, len(items))
	for i, item := range items {
		text[i] = item.String()
	}
	return strings.Join(text, " ")
}

// subnetsWords lists the subnets of a node; where it has several of a family,
// the first and how many there are besides, but for wide output.
func subnetsWords(subnets []netip.Prefix, wide bool) string {
	seen := map[bool]bool{}
	first := slices.DeleteFunc(slices.Clone(subnets), func(p netip.Prefix) bool {
		was := seen[p.Addr().Is4()]
		seen[p.Addr().Is4()] = true
		return was
	})
	if wide || len(first) == len(subnets) {
		return list(subnets)
	}
	return fmt.Sprintf("%s +%d", list(first), len(subnets)-len(first))
}

// addrs lists the addresses of a node, IPv4 first.
func addrs(p fabric.PerFamily[netip.Addr]) string {
	var out []netip.Addr
	for _, f := range fabric.Families {
		if a := p.Get(f); a.IsValid() {
			out = append(out, a)
		}
	}
	return list(out)
}

func prefixes(subnets []fabric.Subnet) []netip.Prefix {
	out := make([]netip.Prefix, len(subnets))
	for i, s := range subnets {
		out[i] = s.Prefix
	}
	return out
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// span writes a duration as people say it, two units at most: "3d4h", "12s".
func span(d time.Duration) string {
	d = max(d, 0)
	days := d / (24 * time.Hour)
	switch {
	case days > 0:
		return fmt.Sprintf("%dd%dh", days, d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// wrap breaks a text between words into lines of at most width characters; a
// word that is longer has a line of its own.
func wrap(text string, width int) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

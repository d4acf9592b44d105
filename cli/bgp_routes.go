package cli

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/weft-net/weft/agent/api"
)

func routesTable(routes []api.BGPRoute, wide bool) *table {
	if wide {
		return pathTable(routes, true, "PREFIX", "NEXT-HOP", "FROM", "USE", "KERNEL")
	}
	return pathTable(routes, false, "PREFIX", "NEXT-HOP", "FROM…", "STATE", "KERNEL…")
}

func receivedTable(routes []api.BGPRoute, wide bool) *table {
	return pathTable(routes, wide, "PREFIX", "NEXT-HOP", "FROM…", "USE…")
}

func advertisedTable(routes []api.BGPRoute, wide bool) *table {
	if wide {
		return pathTable(routes, true, "PREFIX", "NEXT-HOP", "TO")
	}
	return pathTable(routes, false, "PREFIX", "NEXT-HOP", "TO…", "AS-PATH…")
}

// pathTable draws routes with the columns that are named, and where it is wide
// with all attributes.
func pathTable(routes []api.BGPRoute, wide bool, head ...string) *table {
	if wide {
		head = append(head, "AS-PATH", "LOCAL-PREF", "MED", "COMMUNITIES", "LARGE", "AGE")
	}
	t, columns := newTable(wide, head...), pathColumns()
	for _, r := range routes {
		cells := make([]string, len(head))
		for i, column := range head {
			cells[i] = cmp.Or(columns[strings.TrimSuffix(column, "…")](r), "-")
		}
		t.add(cells...)
	}
	return t
}

// pathColumns are the columns that tables of routes can have.
func pathColumns() map[string]func(api.BGPRoute) string {
	return map[string]func(api.BGPRoute) string{
		"PREFIX":   func(r api.BGPRoute) string { return r.Prefix.String() },
		"NEXT-HOP": func(r api.BGPRoute) string { return text(r.NextHop) },
		"FROM":     func(r api.BGPRoute) string { return cmp.Or(r.Session, "this host") },
		"TO":       func(r api.BGPRoute) string { return r.Session },
		"USE":      use,
		"STATE": func(r api.BGPRoute) string {
			word, _, _ := strings.Cut(use(r), ":")
			return word
		},
		"KERNEL":      func(r api.BGPRoute) string { return r.Kernel },
		"AS-PATH":     func(r api.BGPRoute) string { return asPath(r.ASPath) },
		"LOCAL-PREF":  func(r api.BGPRoute) string { return optional(r.LocalPreference) },
		"MED":         func(r api.BGPRoute) string { return optional(r.MED) },
		"COMMUNITIES": func(r api.BGPRoute) string { return strings.Join(r.Communities, " ") },
		"LARGE":       func(r api.BGPRoute) string { return strings.Join(r.LargeCommunities, " ") },
		"AGE":         func(r api.BGPRoute) string { return span(r.Age) },
	}
}

// use says whether a route is used and why not.
func use(r api.BGPRoute) string {
	switch {
	case r.Rejected != "":
		return "rejected: " + r.Rejected
	case r.Best && r.Stale:
		return "best, stale"
	case r.Best:
		return "best"
	case r.Stale:
		return "stale"
	}
	return "spare"
}

func asPath(path []uint32) string {
	words := make([]string, len(path))
	for i, n := range path {
		words[i] = strconv.FormatUint(uint64(n), 10)
	}
	return strings.Join(words, " ")
}

func optional(n *uint32) string {
	if n == nil {
		return ""
	}
	return strconv.FormatUint(uint64(*n), 10)
}

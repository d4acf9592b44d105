package cli

import (
	"cmp"
	"net/netip"
	"slices"
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
	return pathTable(routes, wide, "PREFIX", "NEXT-HOP", "FROM…", "IMPORT…")
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
		"NEXT-HOP": nextHop,
		"FROM":     func(r api.BGPRoute) string { return cmp.Or(r.Session, "this host") },
		"TO":       func(r api.BGPRoute) string { return r.Session },
		"USE":      use,
		"STATE": func(r api.BGPRoute) string {
			word, _, _ := strings.Cut(use(r), ":")
			return word
		},
		"IMPORT": imported,
		"KERNEL": func(r api.BGPRoute) string {
			if r.Session == "" {
				return "" // this host's own is not there for the speaker's sake
			}
			return r.Kernel
		},
		"AS-PATH":     func(r api.BGPRoute) string { return asPath(r.ASPath) },
		"LOCAL-PREF":  func(r api.BGPRoute) string { return optional(r.LocalPreference) },
		"MED":         func(r api.BGPRoute) string { return optional(r.MED) },
		"COMMUNITIES": func(r api.BGPRoute) string { return strings.Join(r.Communities, " ") },
		"LARGE":       func(r api.BGPRoute) string { return strings.Join(r.LargeCommunities, " ") },
		"AGE":         func(r api.BGPRoute) string { return span(r.Age) },
	}
}

// nextHop is nothing for this host's own routes.
func nextHop(r api.BGPRoute) string {
	if r.NextHop.IsUnspecified() {
		return ""
	}
	return text(r.NextHop)
}

// imported says whether a route that was received got in, and why not.
func imported(r api.BGPRoute) string {
	switch {
	case r.Rejected != "":
		return "rejected: " + r.Rejected
	case r.Stale:
		return "accepted, stale"
	}
	return "accepted"
}

// longestMatch are the routes to the longest prefix that an address is in.
func longestMatch(routes []api.BGPRoute, a netip.Addr) []api.BGPRoute {
	longest := -1
	for _, r := range routes {
		if r.Prefix.Contains(a) {
			longest = max(longest, r.Prefix.Bits())
		}
	}
	return slices.DeleteFunc(routes, func(r api.BGPRoute) bool { return !r.Prefix.Contains(a) || r.Prefix.Bits() != longest })
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

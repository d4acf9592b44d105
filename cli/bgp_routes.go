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
	t := newTable(wide, head...)
	for _, r := range routes {
		cells := make([]string, len(head))
		for i, column := range head {
			cells[i] = pathCell(r, column)
		}
		t.add(cells...)
	}
	return t
}

func pathCell(r api.BGPRoute, column string) string {
	value := ""
	switch strings.TrimSuffix(column, "…") {
	case "PREFIX":
		value = r.Prefix.String()
	case "NEXT-HOP":
		if !r.NextHop.IsUnspecified() { // of this host's own routes
			value = text(r.NextHop)
		}
	case "FROM":
		value = cmp.Or(r.Session, "this host")
	case "TO":
		value = r.Session
	case "STATE":
		value, _, _ = strings.Cut(use(r), ":")
	case "USE":
		value = use(r)
	case "IMPORT":
		value = imported(r)
	case "KERNEL":
		if r.Session != "" { // routes of this host's own are not from the speaker
			value = r.Kernel
		}
	case "AS-PATH":
		value = asPath(r.ASPath)
	case "LOCAL-PREF":
		value = optional(r.LocalPreference)
	case "MED":
		value = optional(r.MED)
	case "COMMUNITIES":
		value = strings.Join(r.Communities, " ")
	case "LARGE":
		value = strings.Join(r.LargeCommunities, " ")
	case "AGE":
		value = span(r.Age)
	}
	return cmp.Or(value, "-")
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

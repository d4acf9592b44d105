package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// compare says what changes from one stored object to the next, a line for
// each value: "+ path: new", "- path: old" or "~ path: old -> new". It compares
// the JSON, not what this version knows of it, so that a field that a newer
// version wrote shows before it is dropped. was is nil for a new object.
func compare(was, will []byte) []string {
	old, err := flatten(was)
	lines := []string{}
	if err != nil {
		lines = append(lines, fmt.Sprintf("- what is stored is not JSON: %.40q", was))
	}
	next, err := flatten(will)
	if err != nil {
		return append(lines, fmt.Sprintf("+ %s", will)) // never: it was encoded here
	}
	all := maps.Clone(old)
	maps.Copy(all, next)
	for _, path := range slices.SortedFunc(maps.Keys(all), comparePaths) {
		a, before := old[path]
		b, after := next[path]
		switch {
		case !before:
			lines = append(lines, fmt.Sprintf("+ %s: %s", path, b))
		case !after:
			lines = append(lines, fmt.Sprintf("- %s: %s", path, a))
		case a != b:
			lines = append(lines, fmt.Sprintf("~ %s: %s -> %s", path, a, b))
		}
	}
	return lines
}

// comparePaths sorts item 10 of a list behind item 9.
func comparePaths(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	a, b = a[i:], b[i:]
	if n, m := digits(a), digits(b); n > 0 || m > 0 {
		return cmp.Or(cmp.Compare(n, m), strings.Compare(a, b))
	}
	return strings.Compare(a, b)
}

// digits counts those that a text begins with.
func digits(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789")) }

// flatten maps the dotted path of each value of a JSON object to its text. A
// list is one value, unless it is one of objects: these are too long for a line.
func flatten(raw []byte) (map[string]string, error) {
	out := make(map[string]string)
	if raw == nil {
		return out, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var tree map[string]any
	if err := dec.Decode(&tree); err != nil {
		return out, err
	}
	flattenInto(out, "", tree)
	return out, nil
}

func flattenInto(out map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			out[path] = "{}" // says something: every node
		}
		for k, v := range v {
			flattenInto(out, strings.TrimPrefix(path+"."+k, "."), v)
		}
		return
	case []any:
		isObject := func(v any) bool { _, ok := v.(map[string]any); return ok }
		if slices.ContainsFunc(v, isObject) {
			for i, v := range v {
				flattenInto(out, fmt.Sprintf("%s[%d]", path, i), v)
			}
			return
		}
	}
	out[path] = textOf(v)
}

func textOf(v any) string {
	list, isList := v.([]any)
	if !isList {
		return fmt.Sprint(v)
	}
	items := make([]string, len(list))
	for i, item := range list {
		items[i] = textOf(item)
	}
	return "[" + strings.Join(items, ", ") + "]"
}

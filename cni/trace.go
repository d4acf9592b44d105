package cni

import "strings"

// traceparent returns a TRACEPARENT that is valid (W3C Trace Context, section
// 3.2.2) and nothing for one that is not, which is to be ignored.
func traceparent(s string) string {
	const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if len(s) < length || len(s) > maxTrace {
		return ""
	}
	// Later versions may add fields; this one has none.
	if s[:2] == "00" && len(s) > length || len(s) > length && s[length] != '-' {
		return ""
	}
	words := strings.SplitN(s, "-", 5)
	for i, n := range []int{2, 32, 16, 2} {
		if i >= len(words) || len(words[i]) != n || strings.Trim(words[i], "0123456789abcdef") != "" {
			return ""
		}
	}
	if words[0] == "ff" || strings.Trim(words[1], "0") == "" || strings.Trim(words[2], "0") == "" {
		return ""
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return s
}

// maxTrace bounds a TRACEPARENT of a later version, in bytes.
const maxTrace = 256

package cni

import "strings"

// maxTrace bounds a TRACEPARENT of a later version, in bytes.
const maxTrace = 256

// traceparent returns a TRACEPARENT that is valid (W3C Trace Context, section
// 3.2.2) and nothing for one that is not, which is to be ignored.
func traceparent(s string) string {
	const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if len(s) < length || len(s) > maxTrace || !isText(s, maxTrace) {
		return ""
	}
	// Later versions may have more fields than this one.
	if len(s) > length && (s[:2] == "00" || s[length] != '-') {
		return ""
	}
	words := strings.Split(s[:length], "-")
	if len(words) != 4 || !isHex(words[0], 2) || !isHex(words[1], 32) || !isHex(words[2], 16) || !isHex(words[3], 2) {
		return ""
	}
	if words[0] == "ff" || strings.Trim(words[1], "0") == "" || strings.Trim(words[2], "0") == "" {
		return ""
	}
	return s
}

// isHex reports whether s is that many digits, in lower case.
func isHex(s string, digits int) bool {
	return len(s) == digits && strings.Trim(s, "0123456789abcdef") == ""
}

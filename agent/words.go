package agent

import "strconv"

// plural counts in words: "1 conflict", "3 conflicts".
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

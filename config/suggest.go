package config

import "strings"

// nearest returns the known name that a mistyped one is nearest to, or ""
// where none is near.
func nearest(name string, known []string) string {
	best, distance := "", 2+len(name)/3
	for _, k := range known {
		d := editDistance(strings.ToLower(name), strings.ToLower(k))
		if len(name) >= 4 && strings.HasPrefix(k, name) {
			d = min(d, 1) // cut short: password for passwordFile
		}
		if d < distance {
			best, distance = k, d
		}
	}
	return best
}

// didYouMean returns " (did you mean X?)", or nothing where there is no X.
func didYouMean(x string) string {
	if x == "" {
		return ""
	}
	return " (did you mean " + x + "?)"
}

// editDistance is Levenshtein's: the insertions, deletions and replacements
// of single bytes that make b out of a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}

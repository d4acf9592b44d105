// Package faults holds the fault runs that are too long for every change: tests
// that do one thing many times and count every packet. `make test` runs each a
// handful of times, `make faults` as often as is claimed (full). Nothing
// imports it.
package faults

import "os"

// full is how the environment asks for the whole of every run.
const full = "WEFT_FAULTS"

// times is how often something is done: as often as is claimed, or a handful of
// times.
func times(claimed, handful int) int {
	if os.Getenv(full) == "full" {
		return claimed
	}
	return handful
}

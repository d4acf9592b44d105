// Package faults holds the plugin's fault runs: the real binary killed at each
// of its system calls, and thousands of calls in parallel with kills in between,
// compared with a model of what a correct plugin may answer. `make test` runs
// them briefly, `make soak` as long as is claimed. It has tests only; nothing
// imports it.
package faults

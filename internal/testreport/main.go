// Testreport reads what `go test -json` prints and shows it the way a person
// wants it: a line per package, the whole output of whatever failed, and at
// the end one line with the sums. It is what decides whether `make test` has
// passed: a test that was skipped counts as failed, unless it says that it was
// left out because no network namespace can be had (testns.LeftOut) or because
// it needs root (testns.NeedsRoot), and so does a run in which nothing ran.
// Only the Makefile calls it:
//
//	go test -json ./... | go run ./internal/testreport
package main

import (
	"fmt"
	"os"
)

func main() {
	ok, err := run(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/weft-net/weft/internal/testns"
)

// event is one line of `go test -json`; see `go doc test2json` and, for the
// build actions, `go help buildjson`.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64 // seconds
}

// id names a test, or with an empty test the package itself.
type id struct{ pkg, test string }

// report adds up a stream of events. One goroutine uses it.
type report struct {
	out io.Writer
	// open holds the output of every package and test that has begun and not
	// ended: it is shown if it fails and forgotten if it passes.
	open    map[id]*strings.Builder
	tests   map[string]int // tests passed, by package
	faults  map[string]int // tests failed, by package
	leftOut map[string]int // tests, by reason
	failed  []string       // names, in the order in which they failed
	passed  int
}

// run reads events until the end and writes the report. It says whether the
// run as a whole has passed.
func run(in io.Reader, out io.Writer) (bool, error) {
	r := &report{out: out, open: map[id]*strings.Builder{}, tests: map[string]int{}, faults: map[string]int{}, leftOut: map[string]int{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.line(line)
		}
		if errors.Is(err, io.EOF) {
			return r.finish(), nil
		}
		if err != nil {
			return false, err
		}
	}
}

func (r *report) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		r.out.Write(line) // not an event: the go command itself speaks
		return
	}
	r.handle(e)
}

func (r *report) handle(e event) {
	k := id{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		io.WriteString(r.out, e.Output)
	case "start", "run":
		r.open[k] = new(strings.Builder)
	case "output":
		if r.open[k] == nil {
			r.open[k] = new(strings.Builder)
		}
		r.open[k].WriteString(e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.packageEnd(e)
		} else {
			r.testEnd(k, e.Action)
		}
		delete(r.open, k)
	}
}

// testEnd counts a test, a subtest or a fuzz target's seed.
func (r *report) testEnd(k id, action string) {
	switch action {
	case "pass":
		r.passed++
		r.tests[k.pkg]++
	case "fail":
		r.fault(k, "failed")
	case "skip":
		reason, ok := leftOut(r.text(k))
		if !ok {
			r.fault(k, "skipped, and no test may be")
			return
		}
		r.leftOut[reason]++
	}
}

// fault counts a test as failed and shows all that it said.
func (r *report) fault(k id, what string) {
	r.faults[k.pkg]++
	name := k.pkg
	if k.test != "" {
		name += " " + k.test
	}
	r.failed = append(r.failed, name)
	fmt.Fprintf(r.out, "%s: %s\n%s", name, what, r.text(k))
}

func (r *report) text(k id) string {
	if b := r.open[k]; b != nil {
		return b.String()
	}
	return ""
}

// packageEnd shows a package's line. A package that failed may have tests that
// began and never ended (a panic, a timeout, an exit), or no failed test at
// all (it does not build, TestMain failed): each shows as one failure.
func (r *report) packageEnd(e event) {
	k := id{pkg: e.Package}
	switch e.Action {
	case "skip": // it has no test files
	case "pass":
		fmt.Fprintf(r.out, "ok    %s  %d passed, %.1f s\n", e.Package, r.tests[e.Package], e.Elapsed)
	case "fail":
		r.abandoned(e.Package)
		if r.faults[e.Package] == 0 {
			r.fault(k, "failed")
		}
		fmt.Fprintf(r.out, "FAIL  %s  %d passed, %d failed, %.1f s\n", e.Package, r.tests[e.Package], r.faults[e.Package], e.Elapsed)
	}
}

// abandoned fails the tests of a package that have begun and not ended.
func (r *report) abandoned(pkg string) {
	for _, k := range r.begun() {
		if k.pkg == pkg && k.test != "" {
			r.fault(k, "did not end")
			delete(r.open, k)
		}
	}
}

func (r *report) begun() []id {
	return slices.SortedFunc(maps.Keys(r.open), func(a, b id) int {
		return strings.Compare(a.pkg+" "+a.test, b.pkg+" "+b.test)
	})
}

// finish names what failed and writes the last line. What has begun and not ended by now was cut off.
func (r *report) finish() bool {
	for _, k := range r.begun() {
		r.fault(k, "cut off")
	}
	verdict, ok := "PASS", true
	for _, name := range r.failed {
		fmt.Fprintf(r.out, "failed: %s\n", name)
	}
	if len(r.failed) > 0 || r.passed == 0 {
		verdict, ok = "FAIL", false
	}
	skipped := 0
	var why []string
	for _, reason := range slices.Sorted(maps.Keys(r.leftOut)) {
		skipped += r.leftOut[reason]
		why = append(why, fmt.Sprintf("%d %s", r.leftOut[reason], reason))
	}
	end := ""
	if r.passed+len(r.failed)+skipped == 0 {
		end = ": no test ran"
	}
	if skipped > 0 {
		end = ": " + strings.Join(why, "; ")
	}
	fmt.Fprintf(r.out, "%s: %d passed, %d failed, %d skipped%s\n", verdict, r.passed, len(r.failed), skipped, end)
	return ok
}

// message finds what a test said through t.Log, t.Skip and the like.
var message = regexp.MustCompile(`(?m)^\s+\S+\.go:\d+: (.*)$`)

// leftOut looks in a skipped test's output for one of the reasons that are allowed.
func leftOut(output string) (reason string, ok bool) {
	for _, m := range message.FindAllStringSubmatch(output, -1) {
		if strings.HasPrefix(m[1], testns.LeftOut) || strings.HasPrefix(m[1], testns.NeedsRoot) {
			return m[1], true
		}
	}
	return "", false
}

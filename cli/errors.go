package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/store"
)

// The exit codes, as the package comment explains them.
const (
	exitDone = iota
	exitFailed
	exitUsage
	exitNo
	exitUnreachable
)

// failure is an error that ends a command: with which code, and what to try.
type failure struct {
	code int
	err  error // nil: everything has been said on standard output
	hint string
}

func (f *failure) Error() string {
	if f.err == nil {
		return ""
	}
	// Several lines would look like several errors.
	text := strings.Join(strings.Fields(f.err.Error()), " ")
	if f.hint != "" {
		text += "; hint: " + f.hint
	}
	return text
}

func (f *failure) Unwrap() error { return f.err }

func usagef(format string, args ...any) error {
	return &failure{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// answerNo ends a command whose answer, already printed, is no.
func answerNo() error { return &failure{code: exitNo} }

// asFailure gives every error a code.
func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return &failure{code: exitFailed, err: err}
}

// unreachable turns an error of a read from etcd into a failure: that there is
// nothing to read is the caller's matter, everything else is etcd's.
func unreachable(err error) error {
	if err == nil || errors.Is(err, store.ErrNotFound) {
		return err
	}
	return &failure{code: exitUnreachable, err: err}
}

// refused turns an error of a write into a failure with a hint for those that
// have an obvious next step.
func refused(err error) error {
	if errors.Is(err, store.ErrChanged) {
		return &failure{code: exitFailed, err: err, hint: "nothing was written"}
	}
	return err
}

// noAgent turns an error of the control socket into a failure. An agent that
// answers with a refusal was reached.
func noAgent(err error, runDir string) error {
	var transport *url.Error
	switch {
	case errors.Is(err, api.ErrNotRunning):
		return &failure{code: exitUnreachable, err: err, hint: "see `systemctl status weftd`, or set --run-dir to the agent's"}
	case errors.Is(err, fs.ErrPermission):
		return &failure{code: exitUnreachable, err: err, hint: "the socket is for root alone"}
	case errors.As(err, &transport):
		return &failure{code: exitUnreachable, err: fmt.Errorf("weftd does not answer on its socket in %s: %w", runDir, transport.Err)}
	}
	return err
}

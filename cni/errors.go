package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/ipam"
)

// Error codes of weft's own; those below 100 are the specification's:
//
//	 1 version not supported      6 not JSON, or not what it should hold
//	 4 environment variables      7 configuration
//	 5 files                      8 network namespace
//	11 try again later: no subnet yet, or the slot files are locked
//	50 STATUS: an ADD would not succeed
const (
	codeFull     uint = 100 // every address of the node's subnets is in use
	codeTaken    uint = 101 // the container has an interface of that name
	codeNotOurs  uint = 102 // a host interface with our name is somebody else's
	codeKernel   uint = 103 // the kernel refused
	codeMismatch uint = 104 // CHECK: the attachment is not as ADD left it
	codeRefused  uint = 105 // the request asks for what weft does not do
)

// fail makes an error with a code; an error that has a code by its nature
// keeps that one.
func fail(code uint, err error, format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	var already *types.Error
	switch {
	case errors.As(err, &already):
		return err
	case errors.Is(err, ipam.ErrFull):
		code = codeFull
	case errors.Is(err, ipam.ErrBusy), errors.Is(err, context.DeadlineExceeded):
		code = types.ErrTryAgainLater
	case errors.Is(err, plumb.ErrTaken):
		code = codeTaken
	case errors.Is(err, plumb.ErrNotOurs):
		code = codeNotOurs
	}
	if err != nil {
		msg += ": " + err.Error()
	}
	return types.NewError(code, oneLine(msg), "")
}

// oneLine joins what errors.Join put on lines of their own.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// printError writes the document that the specification wants of a failure.
func printError(w io.Writer, version string, err error) {
	var e *types.Error
	if !errors.As(err, &e) {
		e = types.NewError(types.ErrInternal, oneLine(err.Error()), "")
	}
	doc, err := json.Marshal(struct {
		CNIVersion string `json:"cniVersion"`
		*types.Error
	}{version, e})
	if err == nil {
		_, err = w.Write(append(doc, '\n'))
	}
	if err != nil { // nobody listens: the exit status is what is left
		fmt.Fprintln(os.Stderr, "weft-cni:", e, err)
	}
}

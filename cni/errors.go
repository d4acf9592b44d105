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
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/ipam"
)

// Error codes of weft's own; those below 100 are the specification's:
//
//	 1 version not supported      6 not JSON, or not what it should hold
//	 2 a key that weft refuses    7 configuration
//	 4 environment variables      8 network namespace
//	 5 files                     11 try again later: no subnet yet, or a lock is held
//	50 STATUS: an ADD would not succeed
//	51 STATUS: an ADD would not succeed, and pods may be cut off
const (
	codeFull       uint = 100 // every address is in use, and there will be no more
	codeTaken      uint = 101 // the container has an interface of that name
	codeNotOurs    uint = 102 // a host interface with our name is somebody else's
	codeKernel     uint = 103 // the kernel refused
	codeMismatch   uint = 104 // CHECK: the attachment is not as ADD left it
	codeRefused    uint = 105 // the request asks for what this host cannot do
	codeInUse      uint = 106 // the address that was asked for is in use
	codeOutside    uint = 107 // ... is outside the node's subnets
	codeReserved   uint = 108 // ... is the subnet's, the gateway's or the broadcast address
	codeMACTaken   uint = 109 // the MAC address that was asked for is in use
	codeBridgeFull uint = 110 // the bridge has as many ports as it can have
)

// byNature are the errors that have one code wherever they come up.
var byNature = [...]struct {
	err  error
	code uint
}{
	{ipam.ErrFull, codeFull},
	{ipam.ErrInUse, codeInUse},
	{ipam.ErrOutside, codeOutside},
	{ipam.ErrReserved, codeReserved},
	{ipam.ErrClosed, types.ErrTryAgainLater},
	{ipam.ErrBusy, types.ErrTryAgainLater},
	{context.DeadlineExceeded, types.ErrTryAgainLater},
	{plumb.ErrTaken, codeTaken},
	{plumb.ErrNotOurs, codeNotOurs},
	{plumb.ErrMACTaken, codeMACTaken},
	{plumb.ErrNoGuard, codeRefused},
	{unix.EXFULL, codeBridgeFull}, // net/bridge/br_if.c, find_portno
}

// fail makes an error with a code; an error that has a code by its nature
// keeps that one.
func fail(code uint, err error, format string, args ...any) error {
	var already *types.Error
	if errors.As(err, &already) {
		return err
	}
	for _, n := range byNature {
		if errors.Is(err, n.err) {
			code = n.code
			break
		}
	}
	msg := fmt.Sprintf(format, args...)
	if err != nil {
		msg += ": " + err.Error()
	}
	return types.NewError(code, oneLine(msg), "")
}

// oneLine joins what errors.Join put on lines of their own.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// explain is what the runtime is told of a failure: the code of its first
// cause and all that was said. What has no code came from reading or writing.
func explain(err error) *types.Error {
	code := types.ErrIOFailure
	var first *types.Error
	if errors.As(err, &first) {
		code = first.Code
	}
	return types.NewError(code, oneLine(err.Error()), "")
}

// printError writes the document that the specification wants of a failure.
func printError(w io.Writer, version string, err error) {
	e := explain(err)
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

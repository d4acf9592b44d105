package cni

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// patience is how long an operation waits for the slot files' lock, which is
// never held for longer than some microseconds by a process that runs.
const patience = 10 * time.Second

// maxConf bounds what is read from stdin, in bytes.
const maxConf = 4 << 20

// Streams are what a process has: its environment and its files.
type Streams struct {
	Getenv func(string) string
	In     io.Reader
	Out    io.Writer
	Err    io.Writer
}

// Main carries out the operation that the environment names and returns the
// exit status. about is printed when there is no operation.
func Main(s Streams, about string) int {
	if s.Getenv("CNI_COMMAND") == "" {
		fmt.Fprintf(s.Err, "%s: a CNI plugin, run by container runtimes\nCNI versions: %s\n", about, strings.Join(versions, ", "))
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	spoken, err := run(ctx, s)
	if err != nil {
		printError(s.Out, spoken, err)
		return 1
	}
	return 0
}

// run returns the version to answer in, which is known only on the way.
func run(ctx context.Context, s Streams) (spoken string, err error) {
	command := s.Getenv("CNI_COMMAND")
	if command == "VERSION" {
		return newest, version.PluginSupports(versions...).Encode(s.Out)
	}
	op, ok := map[string]operation{
		"ADD": {add, versions[0], true}, "DEL": {del, versions[0], true}, "CHECK": {check, "0.4.0", true},
		"GC": {gc, "1.1.0", false}, "STATUS": {status, "1.1.0", false},
	}[command]
	if !ok {
		return newest, fail(types.ErrInvalidEnvironmentVariables, nil, "CNI_COMMAND %q is none that weft knows", command)
	}
	data, err := io.ReadAll(io.LimitReader(s.In, maxConf+1))
	if err == nil && len(data) > maxConf {
		err = errors.New("too long")
	}
	if err != nil {
		return newest, fail(types.ErrIOFailure, err, "read the network configuration")
	}
	r := request{command: command, netns: s.Getenv("CNI_NETNS")}
	if r.conf, err = parseConf(data); err != nil {
		return newest, err
	}
	if have, err := version.GreaterThanOrEqualTo(r.conf.CNIVersion, op.since); err != nil || !have {
		return r.conf.CNIVersion, fail(types.ErrIncompatibleCNIVersion, err, "cniVersion %s has no %s", r.conf.CNIVersion, command)
	}
	if op.attachment {
		if r.Attachment, err = parseAttachment(s.Getenv); err != nil {
			return r.conf.CNIVersion, err
		}
	}
	return r.conf.CNIVersion, op.do(ctx, r, s)
}

// operation is one that the specification defines.
type operation struct {
	do         func(context.Context, request, Streams) error
	since      string // version
	attachment bool   // it is about one attachment, not the network
}

// Process is the streams of this process.
func Process() Streams {
	return Streams{Getenv: os.Getenv, In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
}

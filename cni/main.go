package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"golang.org/x/sys/unix"
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
	start := time.Now()
	r := request{
		command: s.Getenv("CNI_COMMAND"), netns: s.Getenv("CNI_NETNS"), args: s.Getenv("CNI_ARGS"),
		trace: traceparent(s.Getenv("TRACEPARENT")), log: &entry{},
	}
	op, ok := operations(r.command)
	if !ok {
		return newest, fail(types.ErrInvalidEnvironmentVariables, nil, "CNI_COMMAND %q is none that weft knows", r.command)
	}
	data, err := read(s.In)
	if r.command == "VERSION" {
		return newest, tellVersions(s.Out, data)
	}
	if err != nil {
		return newest, fail(types.ErrIOFailure, err, "read the network configuration")
	}
	if r.conf, err = parseConf(data); err != nil {
		if !slices.Contains(versions, r.conf.CNIVersion) {
			return newest, err
		}
		return r.conf.CNIVersion, err
	}
	err = op.run(ctx, &r, s)
	r.log.Op, r.log.Network, r.log.Netns, r.log.Trace = r.command, r.conf.Name, r.netns, r.trace
	r.log.Container, r.log.Interface = r.Container, r.Interface
	r.log.write(&r.conf, start, err)
	return r.conf.CNIVersion, err
}

// operation is one that the specification defines.
type operation struct {
	do         func(context.Context, request, Streams) error
	since      string // version
	attachment bool   // it is about one attachment, not the network
	complete   bool   // it needs the whole configuration
}

func operations(command string) (operation, bool) {
	switch command {
	case "ADD":
		return operation{add, versions[0], true, true}, true
	case "DEL":
		return operation{del, versions[0], true, false}, true
	case "CHECK":
		return operation{check, "0.4.0", true, true}, true
	case "GC":
		return operation{gc, "1.1.0", false, false}, true
	case "STATUS":
		return operation{status, "1.1.0", false, true}, true
	}
	return operation{}, command == "VERSION"
}

// run checks the request as far as the operation is concerned and carries it out.
func (op operation) run(ctx context.Context, r *request, s Streams) error {
	have, err := version.GreaterThanOrEqualTo(r.conf.CNIVersion, op.since)
	if err != nil || !have {
		return fail(types.ErrIncompatibleCNIVersion, err, "cniVersion %s has no %s", r.conf.CNIVersion, r.command)
	}
	if op.attachment {
		if r.Attachment, err = parseAttachment(s.Getenv); err != nil {
			return err
		}
	}
	if op.complete {
		if err := r.conf.complete(); err != nil {
			return err
		}
	}
	return op.do(ctx, *r, s)
}

// read reads stdin, up to a bound.
func read(in io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(in, maxConf+1))
	if err == nil && len(data) > maxConf {
		err = errors.New("too long")
	}
	return data, err
}

// tellVersions answers VERSION in the version that it was asked in.
func tellVersions(w io.Writer, data []byte) error {
	asked := struct {
		CNIVersion string `json:"cniVersion"`
	}{}
	if err := json.Unmarshal(data, &asked); err != nil || asked.CNIVersion == "" {
		asked.CNIVersion = newest
	}
	return json.NewEncoder(w).Encode(struct {
		CNIVersion        string   `json:"cniVersion"`
		SupportedVersions []string `json:"supportedVersions"`
	}{asked.CNIVersion, versions})
}

// Process is the streams of this process.
func Process() Streams {
	return Streams{Getenv: os.Getenv, In: os.Stdin, Out: output(unix.Stdout), Err: output(unix.Stderr)}
}

// output writes to a descriptor. A write to an os.Stdout that nobody reads any
// more ends the process (package signal, SIGPIPE), just when an ADD is to be
// taken back; this one returns EPIPE.
type output int

func (o output) Write(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := unix.Write(int(o), p[n:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return n, err
		default:
			n += m
		}
	}
	return n, nil
}

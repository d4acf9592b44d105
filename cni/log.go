package cni

import (
	"encoding/json"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"
)

// maxLog bounds the log file, in bytes: one that has grown beyond it becomes
// FILE.1, in place of the one before.
const maxLog = 1 << 20

// entry is the log's line about one operation. An operation fills what it
// finds out on its way.
type entry struct {
	Time      time.Time    `json:"time"`
	Level     string       `json:"level"` // info or error
	Op        string       `json:"op"`
	Network   string       `json:"network,omitempty"`
	Container string       `json:"container,omitempty"`
	Interface string       `json:"interface,omitempty"`
	Host      string       `json:"hostInterface,omitempty"`
	Netns     string       `json:"netns,omitempty"`
	Pod       string       `json:"pod,omitempty"`
	Addrs     []netip.Addr `json:"addresses,omitempty"`
	MS        float64      `json:"ms"` // from start to end of the operation
	Code      uint         `json:"code,omitempty"`
	Msg       string       `json:"msg,omitempty"`
	Trace     string       `json:"traceparent,omitempty"`
}

// logLevels are the values of the option logLevel: every operation, or those
// that failed.
var logLevels = [...]string{"info", "error"}

// checkLog checks the options of the log.
func (c *conf) checkLog() error {
	if c.LogFile != "" && !filepath.IsAbs(c.LogFile) {
		return fail(types.ErrInvalidNetworkConfig, nil, "logFile %q is not an absolute path", c.LogFile)
	}
	if c.LogLevel != "" && c.LogLevel != logLevels[0] && c.LogLevel != logLevels[1] {
		return fail(types.ErrInvalidNetworkConfig, nil, "logLevel %q is not one of %q", c.LogLevel, logLevels)
	}
	return nil
}

// write appends the entry to the log if the configuration asks for one. A log
// that cannot be written never fails an operation, nor does it hold one up.
func (e *entry) write(c *conf, start time.Time, err error) {
	if c.LogFile == "" || c.checkLog() != nil || err == nil && c.LogLevel == logLevels[1] {
		return
	}
	e.Time, e.Level, e.MS = start.UTC(), logLevels[0], float64(time.Since(start).Microseconds())/1000
	if err != nil {
		doc := explain(err)
		e.Level, e.Code, e.Msg = logLevels[1], doc.Code, doc.Msg
	}
	line, err := json.Marshal(e)
	if err == nil {
		appendLine(c.LogFile, append(line, '\n'))
	}
}

// appendLine adds a line in one write, so that those of other processes are not
// torn apart. O_NONBLOCK: a pipe that nobody reads must not block a pod.
func appendLine(path string, line []byte) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, line); err != nil {
		return
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size > maxLog {
		rotate(path, fd, &st)
	}
}

// rotate moves the log that fd has open out of the way, once: the lock on the
// file itself and a look at what the path leads to keep a second process from
// moving the new one over it. The path may be a symbolic link, which stays.
func rotate(path string, fd int, own *unix.Stat_t) {
	path, err := filepath.EvalSymlinks(path)
	var now unix.Stat_t
	if err != nil || unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil || unix.Lstat(path, &now) != nil {
		return
	}
	if now.Dev == own.Dev && now.Ino == own.Ino {
		_ = unix.Rename(path, path+".1")
	}
}

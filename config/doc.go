// Package config reads what people write: the node's own file (weftd.yaml,
// with its environment variables and flags) and the objects that describe the
// fabric. It parses strictly, fills in defaults, validates, and explains; what
// it returns holds typed values that need no second look.
//
// Every error is one line that names where the value came from (file and
// line, environment variable or flag), the key, and what was expected. Nothing
// here talks to etcd or to the kernel: the agent, the store and the command
// line call this package, and it reads no more than the files it is told to.
package config

import "fmt"

// problem is a value that is not accepted: where it stands and why.
type problem struct {
	path string // dotted, like "etcd.tls.ca" or "spec.reserved[2]"
	text string
}

func (p *problem) Error() string {
	if p.path == "" {
		return p.text
	}
	return p.path + ": " + p.text
}

func problemf(path, format string, args ...any) *problem {
	return &problem{path: path, text: fmt.Sprintf(format, args...)}
}

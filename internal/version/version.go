// Package version says which weft this is. Every binary prints it, and the
// agent puts it into its node record and its status. Anybody may import it; it
// links nothing but the standard library.
package version

import "runtime/debug"

// Version is set by the linker (-X, see the Makefile) to what `git describe`
// says. It is the one package variable that is assigned from outside; nothing
// assigns it at run time, and readers call String.
var Version string

// String returns the version of this build: what the linker set, else what the
// Go toolchain recorded (a module version, or the commit), else "unknown".
func String() string {
	if Version != "" {
		return Version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknown
	}
	return fromBuild(info)
}

const unknown = "unknown"

// fromBuild reads the version that `go install module@version` or a build
// inside a checkout leaves in the binary.
func fromBuild(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	var commit, dirty string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value[:min(len(s.Value), 12)]
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "-dirty"
			}
		}
	}
	if commit == "" {
		return unknown
	}
	return commit + dirty
}

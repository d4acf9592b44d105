package version

import (
	"runtime/debug"
	"testing"
)

func TestFromBuild(t *testing.T) {
	module := func(v string) debug.Module { return debug.Module{Path: "github.com/weft-net/weft", Version: v} }
	vcs := func(commit, modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "vcs.revision", Value: commit}, {Key: "vcs.modified", Value: modified}}
	}
	for _, tt := range []struct {
		name string
		in   debug.BuildInfo
		want string
	}{
		{"installed by version", debug.BuildInfo{Main: module("v0.3.1")}, "v0.3.1"},
		{"built in a checkout", debug.BuildInfo{Main: module("(devel)"), Settings: vcs("0123456789abcdef0123", "false")}, "0123456789ab"},
		{"built in a changed checkout", debug.BuildInfo{Main: module("(devel)"), Settings: vcs("0123456789abcdef0123", "true")}, "0123456789ab-dirty"},
		{"a short revision", debug.BuildInfo{Settings: vcs("abc", "false")}, "abc"},
		{"nothing recorded", debug.BuildInfo{Main: module("(devel)")}, "unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := fromBuild(&tt.in); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestStringIsNeverEmpty(t *testing.T) {
	if String() == "" {
		t.Error("the version is empty")
	}
}

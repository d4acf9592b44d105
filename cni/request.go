package cni

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/weft-net/weft/ipam"
)

// request is one call of the plugin.
type request struct {
	command string
	ipam.Attachment
	netns string // CNI_NETNS
	args  string // CNI_ARGS; ADD alone reads them
	trace string // TRACEPARENT, empty if there is none that is valid
	conf  conf
	log   *entry // what the operation found out, for the log; never nil
}

// parseAttachment reads the variables that name an attachment.
func parseAttachment(getenv func(string) string) (ipam.Attachment, error) {
	a := ipam.Attachment{Container: getenv("CNI_CONTAINERID"), Interface: getenv("CNI_IFNAME")}
	if a.Container == "" || a.Interface == "" {
		return a, fail(types.ErrInvalidEnvironmentVariables, nil, "CNI_CONTAINERID and CNI_IFNAME must be set")
	}
	if !isName(a.Container) {
		return a, fail(types.ErrInvalidEnvironmentVariables, nil, "CNI_CONTAINERID %q (want letters, digits and _.-)", a.Container)
	}
	if !isInterface(a.Interface) {
		return a, fail(types.ErrInvalidEnvironmentVariables, nil, "CNI_IFNAME %q is no interface name", a.Interface)
	}
	if err := a.Check(); err != nil {
		return a, fail(types.ErrInvalidEnvironmentVariables, err, "CNI_CONTAINERID, CNI_IFNAME")
	}
	return a, nil
}

// isName is the specification's rule for containers' ids and networks' names.
// (The project's own check compiles a regular expression at every start.)
func isName(s string) bool {
	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return s != ""
}

// isInterface is the kernel's rule for interfaces' names but for their length
// (net/core/dev.c, dev_valid_name), less those that it would make another name
// of (%d) and those that a result or a record in JSON could not hold.
func isInterface(s string) bool {
	return s != "." && s != ".." && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '/' || r == ':' || r == '%' || unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
}

package routing

import (
	"bytes"
	"fmt"

	"github.com/weft-net/weft/backends/bgp"
)

// secretLimit is the longest key that the kernel takes, in bytes
// (TCP_MD5SIG_MAXKEYLEN in include/uapi/linux/tcp.h).
const secretLimit = 80

// credential makes a password of a file's content. A newline at the end is the
// editor's.
func credential(path string, data []byte) bgp.Credential {
	data = bytes.TrimRight(data, "\r\n")
	switch {
	case len(data) == 0:
		return bgp.Credential{Err: path + ": it is empty"}
	case len(data) > secretLimit:
		return bgp.Credential{Err: fmt.Sprintf("%s: the password has %d bytes, at most %d are possible", path, len(data), secretLimit)}
	case bytes.ContainsAny(data, "\x00\n"):
		return bgp.Credential{Err: path + ": the password has more than one line, or a zero byte"}
	}
	return bgp.Credential{Secret: bgp.Secret(data)}
}

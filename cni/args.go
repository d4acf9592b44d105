package cni

import (
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/weft-net/weft/cni/record"
)

// arguments are what weft understands of CNI_ARGS.
type arguments struct {
	ips []string
	mac string
	pod record.Pod
}

// parseArgs reads CNI_ARGS. Keys that weft does not know are for others,
// whatever IgnoreUnknown says, and a semicolon at the end is common. Of a key
// that is there twice the last one counts, as in the CNI project's own parser.
func parseArgs(args string) (arguments, error) {
	var out arguments
	for pair := range strings.SplitSeq(args, ";") {
		if pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		var err error
		switch {
		case !ok || key == "":
			err = fmt.Errorf("%q is not KEY=VALUE", pair)
		case key == "IP":
			out.ips = list(value)
		case key == "MAC":
			out.mac = value
		case key == "K8S_POD_NAMESPACE":
			out.pod.Namespace, err = word(key, value)
		case key == "K8S_POD_NAME":
			out.pod.Name, err = word(key, value)
		case key == "K8S_POD_UID":
			out.pod.UID, err = word(key, value)
		}
		if err != nil {
			return out, fail(types.ErrInvalidEnvironmentVariables, err, "CNI_ARGS")
		}
	}
	return out, nil
}

// word returns a value that may be empty but is a name otherwise.
func word(key, value string) (string, error) {
	if value != "" && !isWord(value, maxName) {
		return "", fmt.Errorf("%s: %.60q is no name", key, value)
	}
	return value, nil
}

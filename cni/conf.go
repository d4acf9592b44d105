package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/weft-net/weft/ipam"
)

// versions are the specification versions that the plugin speaks, oldest first.
var versions = []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// newest is used where the runtime's version is not known.
const newest = "1.1.0"

const defaultRunDir = "/run/weft"

// conf is the plugin's network configuration: of types.PluginConf what weft
// needs, as decoding the rest takes longer than using it.
type conf struct {
	CNIVersion string          `json:"cniVersion"`
	Name       string          `json:"name"`
	RunDir     string          `json:"runDir"`
	IPAM       types.IPAM      `json:"ipam"`
	DNS        types.DNS       `json:"dns"`
	PrevResult json.RawMessage `json:"prevResult"`
	prev       *current.Result
}

// request is one call of the plugin.
type request struct {
	command string
	ipam.Attachment
	netns string // CNI_NETNS
	conf  conf
}

// parseConf decodes what the runtime sends on stdin.
func parseConf(data []byte) (conf, error) {
	var c conf
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fail(types.ErrDecodingFailure, err, "network configuration")
	}
	if c.CNIVersion == "" {
		c.CNIVersion = "0.1.0" // what its absence has always meant
	}
	if !slices.Contains(versions, c.CNIVersion) {
		return c, fail(types.ErrIncompatibleCNIVersion, nil, "cniVersion %q is not one of %s", c.CNIVersion, strings.Join(versions, ", "))
	}
	if !isName(c.Name) {
		return c, fail(types.ErrInvalidNetworkConfig, nil, "network name %q (want letters, digits and _.-)", c.Name)
	}
	if c.RunDir == "" {
		c.RunDir = defaultRunDir
	}
	if !filepath.IsAbs(c.RunDir) {
		return c, fail(types.ErrInvalidNetworkConfig, nil, "runDir %q is not an absolute path", c.RunDir)
	}
	if c.IPAM.Type != "" {
		return c, fail(types.ErrInvalidNetworkConfig, nil, "ipam %q: weft hands out addresses itself; remove this key", c.IPAM.Type)
	}
	return c, c.parsePrev()
}

// parsePrev decodes prevResult, whichever version it has.
func (c *conf) parsePrev() error {
	if len(c.PrevResult) == 0 || string(c.PrevResult) == "null" {
		return nil
	}
	// It is in the version of the configuration, whatever it says itself.
	prev, err := create.Create(c.CNIVersion, c.PrevResult)
	if err == nil {
		c.prev, err = current.GetResult(prev)
	}
	if err == nil {
		err = checkPrev(c.prev)
	}
	if err != nil {
		return fail(types.ErrDecodingFailure, err, "prevResult")
	}
	return nil
}

// checkPrev refuses what would have to be looked at again at every use.
func checkPrev(r *current.Result) error {
	if slices.Contains(r.Interfaces, nil) || slices.Contains(r.IPs, nil) || slices.Contains(r.Routes, nil) {
		return errors.New("null in a list")
	}
	for _, ip := range r.IPs {
		if ip.Interface != nil && (*ip.Interface < 0 || *ip.Interface >= len(r.Interfaces)) {
			return fmt.Errorf("interface %d of %d", *ip.Interface, len(r.Interfaces))
		}
	}
	return nil
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
	return a, parseArgs(getenv("CNI_ARGS"))
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
// (net/core/dev.c, dev_valid_name).
func isInterface(s string) bool {
	return s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool { return r == '/' || r == ':' || unicode.IsSpace(r) })
}

// parseArgs checks CNI_ARGS. Unknown keys are for others, a trailing semicolon
// is common; but who asks for a certain address must not get another one.
func parseArgs(args string) error {
	for _, pair := range strings.Split(args, ";") {
		if pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return fail(types.ErrInvalidEnvironmentVariables, nil, "CNI_ARGS: %q is not KEY=VALUE", pair)
		}
		if (key == "IP" || key == "MAC") && value != "" {
			return fail(codeRefused, nil, "CNI_ARGS: %s asks for a certain address, which weft does not give", pair)
		}
	}
	return nil
}

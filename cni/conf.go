package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/weft-net/weft/ipam"
)

// versions are the specification versions that the plugin speaks, oldest first.
var versions = []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// newest is used where the runtime's version is not known.
const newest = "1.1.0"

const defaultRunDir = "/run/weft"

// conf is the plugin's network configuration.
type conf struct {
	types.PluginConf
	RunDir string `json:"runDir"`
	prev   *current.Result
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
	if err := utils.ValidateNetworkName(c.Name); err != nil {
		return c, err
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
	if c.RawPrevResult == nil {
		return nil
	}
	err := version.ParsePrevResult(&c.PluginConf)
	if err == nil {
		c.prev, err = current.GetResult(c.PrevResult)
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
	// Typed nil pointers must not become non-nil errors.
	if err := utils.ValidateContainerID(a.Container); err != nil {
		return a, err
	}
	if err := utils.ValidateInterfaceName(a.Interface); err != nil {
		return a, err
	}
	if err := a.Check(); err != nil {
		return a, fail(types.ErrInvalidEnvironmentVariables, err, "CNI_CONTAINERID")
	}
	return a, parseArgs(getenv("CNI_ARGS"))
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

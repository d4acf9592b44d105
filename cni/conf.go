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
	"github.com/containernetworking/cni/pkg/types/create"
)

// versions are the specification versions that the plugin speaks, oldest first.
var versions = []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// newest is used where the runtime's version is not known.
const newest = "1.1.0"

const defaultRunDir = "/run/weft"

// conf is the plugin's network configuration. What every operation needs is
// decoded at once. The rest is decoded and checked for those that use it, so
// that nobody's typing error keeps a pod from being detached.
type conf struct {
	CNIVersion string `json:"cniVersion"`
	Name       string `json:"name"`
	RunDir     string `json:"runDir"`
	LogFile    string `json:"logFile"`
	LogLevel   string `json:"logLevel"`
	// Decoded by complete:
	PrevResult json.RawMessage `json:"prevResult"`
	options    options
	prev       *current.Result // nil: none
	// Decoded by ADD:
	RuntimeConfig json.RawMessage `json:"runtimeConfig"`
	Args          json.RawMessage `json:"args"`
	// Decoded by GC:
	ValidAttachments json.RawMessage `json:"cni.dev/valid-attachments"`
	OldAttachments   json.RawMessage `json:"cni.dev/attachments"` // libcni 1.2.0 calls it so
}

// parseConf decodes what every operation needs.
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
	return c, nil
}

// complete decodes and checks what ADD, CHECK and STATUS need besides.
func (c *conf) complete(data []byte) error {
	if err := c.checkLog(); err != nil {
		return err
	}
	if err := c.options.parse(data); err != nil {
		return err
	}
	return c.parsePrev()
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

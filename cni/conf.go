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

	"github.com/weft-net/weft/internal/rawjson"
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
	members    rawjson.Object // all of it
	CNIVersion string
	Name       string
	RunDir     string
	LogFile    string
	LogLevel   string
	// Decoded by complete:
	PrevResult json.RawMessage // prevResult
	options    options
	prev       *current.Result // nil: none
	// Decoded by ADD:
	RuntimeConfig json.RawMessage // runtimeConfig
	Args          json.RawMessage // args
	// Decoded by GC:
	ValidAttachments json.RawMessage // cni.dev/valid-attachments
	OldAttachments   json.RawMessage // cni.dev/attachments, as libcni 1.2.0 calls it
}

// parseConf decodes what every operation needs.
func parseConf(data []byte) (conf, error) {
	var c conf
	var err error
	if c.members, err = rawjson.Parse(data); err == nil {
		err = c.members.Decode(
			rawjson.Member{Name: "cniVersion", To: &c.CNIVersion}, rawjson.Member{Name: "name", To: &c.Name},
			rawjson.Member{Name: "runDir", To: &c.RunDir}, rawjson.Member{Name: "logFile", To: &c.LogFile},
			rawjson.Member{Name: "logLevel", To: &c.LogLevel}, rawjson.Member{Name: "prevResult", To: &c.PrevResult},
			rawjson.Member{Name: "runtimeConfig", To: &c.RuntimeConfig}, rawjson.Member{Name: "args", To: &c.Args},
			rawjson.Member{Name: "cni.dev/valid-attachments", To: &c.ValidAttachments},
			rawjson.Member{Name: "cni.dev/attachments", To: &c.OldAttachments},
		)
	}
	if err != nil {
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
func (c *conf) complete() error {
	if err := c.checkLog(); err != nil {
		return err
	}
	if err := c.options.parse(c.members); err != nil {
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

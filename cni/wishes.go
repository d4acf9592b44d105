package cni

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/fabric"
)

// Annotations of a pod that weft reads, where the runtime passes them.
const (
	annotationIPs    = "weft/ips"    // ADDRESS,ADDRESS
	annotationMAC    = "weft/mac"    // MAC address
	annotationLabels = "weft/labels" // KEY=VALUE,KEY=VALUE
	annotationSticky = "weft/sticky" // true or false
)

// wishes are what a request for one attachment asks for, from wherever.
type wishes struct {
	pod     record.Pod
	ips     []netip.Addr // one per family at most
	mac     fabric.MAC   // zero: none
	labels  map[string]string
	aliases []string
	sticky  bool
}

// source is one of the places where a request may name addresses.
type source struct {
	name string // for errors
	code uint   // of a value that makes no sense
	ips  []string
	mac  string
}

// dynamic is what a runtime fills in (runtimeConfig), of which weft's entry in
// the configuration lists the capabilities.
type dynamic struct {
	IPs         []string          `json:"ips"`
	MAC         string            `json:"mac"`
	Aliases     aliases           `json:"aliases"`
	Annotations map[string]string `json:"io.kubernetes.cri.pod-annotations"`
}

// static is what whoever calls the runtime fills in (args.cni).
type static struct {
	CNI struct {
		IPs    []string `json:"ips"`
		MAC    string   `json:"mac"`
		Labels labels   `json:"labels"`
	} `json:"cni"`
}

// parseWishes gathers what a request asks for. Of addresses the first source
// that names any has the say, alone; so it is with the MAC.
func parseWishes(r *request) (wishes, error) {
	var d dynamic
	if err := decode(r.conf.RuntimeConfig, &d); err != nil {
		return wishes{}, fail(types.ErrDecodingFailure, err, "runtimeConfig")
	}
	var s static
	if err := decode(r.conf.Args, &s); err != nil {
		return wishes{}, fail(types.ErrDecodingFailure, err, "args")
	}
	env, err := parseArgs(r.args)
	if err != nil {
		return wishes{}, err
	}
	w := wishes{pod: env.pod, aliases: d.Aliases.of(r.conf.Name), labels: s.CNI.Labels, sticky: r.conf.options.Sticky}
	if err := w.name([]source{
		{"runtimeConfig", types.ErrInvalidNetworkConfig, d.IPs, d.MAC},
		{"annotation", types.ErrInvalidNetworkConfig, list(d.Annotations[annotationIPs]), d.Annotations[annotationMAC]},
		{"args.cni", types.ErrInvalidNetworkConfig, s.CNI.IPs, s.CNI.MAC},
		{"CNI_ARGS", types.ErrInvalidEnvironmentVariables, env.ips, env.mac},
	}); err != nil {
		return wishes{}, err
	}
	if err := w.annotate(d.Annotations); err != nil {
		return wishes{}, fail(types.ErrInvalidNetworkConfig, err, "annotation")
	}
	if err := checkTexts(w.labels, w.aliases); err != nil {
		return wishes{}, fail(types.ErrInvalidNetworkConfig, err, "labels and aliases")
	}
	return w, nil
}

// decode decodes a part of the configuration that may be missing.
func decode(data json.RawMessage, v any) error {
	if len(data) == 0 {
		return nil
	}
	return json.Unmarshal(data, v)
}

// list splits at commas.
func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// name takes addresses and MAC from the first source that has them.
func (w *wishes) name(sources []source) (err error) {
	for _, s := range sources {
		if len(s.ips) > 0 && len(w.ips) == 0 {
			if w.ips, err = parseIPs(s.ips); err != nil {
				return fail(s.code, err, "%s", s.name)
			}
		}
		if s.mac != "" && w.mac == (fabric.MAC{}) {
			w.mac, err = fabric.ParseMAC(s.mac)
			if err == nil && !w.mac.Valid() {
				err = fmt.Errorf("%s is the address of no single interface", w.mac)
			}
			if err != nil {
				return fail(s.code, err, "%s", s.name)
			}
		}
	}
	return nil
}

// parseIPs parses addresses, one of each family at most. A length is allowed
// and ignored: which subnet an address is in is the node's to say.
func parseIPs(list []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, s := range list {
		s = strings.TrimSpace(s)
		a, err := netip.ParseAddr(s)
		if strings.Contains(s, "/") {
			var p netip.Prefix
			p, err = netip.ParsePrefix(s)
			a = p.Addr()
		}
		if err != nil || a.Zone() != "" {
			return nil, fmt.Errorf("%q is not an IP address", s)
		}
		a = a.Unmap()
		for _, other := range out {
			if other.BitLen() == a.BitLen() {
				return nil, fmt.Errorf("%s and %s are of one family, of which an interface has one address", other, a)
			}
		}
		out = append(out, a)
	}
	return out, nil
}

// annotate takes labels and stickiness from the pod's annotations; its labels
// have the say over those from elsewhere.
func (w *wishes) annotate(annotations map[string]string) error {
	for _, pair := range list(annotations[annotationLabels]) {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("%s: %q is not KEY=VALUE", annotationLabels, pair)
		}
		if w.labels == nil {
			w.labels = map[string]string{}
		}
		w.labels[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	switch s := annotations[annotationSticky]; s {
	case "":
	case "true", "false":
		w.sticky = s == "true"
	default:
		return fmt.Errorf("%s: %q is neither true nor false", annotationSticky, s)
	}
	return nil
}

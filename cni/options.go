package cni

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/weft-net/weft/internal/rawjson"
)

// options are what an operator may write beside the plugin's type.
type options struct {
	MTU      int // bytes; 0: the node's
	Hairpin  bool
	Isolated bool
	// MACSpoofCheck keeps pods from sending with another's MAC or address; nil: it does.
	MACSpoofCheck *bool
	Sysctls       map[string]string // in the pod's namespace
	Sticky        bool
	IPAM          types.IPAM
	DNS           types.DNS
}

// guarded reports whether the pod may send with its own MAC and addresses only.
func (o *options) guarded() bool { return o.MACSpoofCheck == nil || *o.MACSpoofCheck }

// parse decodes and checks the options.
func (o *options) parse(conf rawjson.Object) error {
	if err := conf.Decode(
		rawjson.Member{Name: "mtu", To: &o.MTU}, rawjson.Member{Name: "hairpin", To: &o.Hairpin},
		rawjson.Member{Name: "isolated", To: &o.Isolated}, rawjson.Member{Name: "macSpoofCheck", To: &o.MACSpoofCheck},
		rawjson.Member{Name: "sysctls", To: &o.Sysctls}, rawjson.Member{Name: "sticky", To: &o.Sticky},
		rawjson.Member{Name: "ipam", To: &o.IPAM}, rawjson.Member{Name: "dns", To: &o.DNS},
	); err != nil {
		return fail(types.ErrDecodingFailure, err, "network configuration")
	}
	if o.IPAM.Type != "" {
		return fail(types.ErrUnsupportedField, nil, "ipam %q: weft hands out addresses itself; remove this key", o.IPAM.Type)
	}
	if o.MTU != 0 && (o.MTU < minMTU || o.MTU > maxMTU) {
		return fail(types.ErrInvalidNetworkConfig, nil, "mtu %d is not between %d and %d", o.MTU, minMTU, maxMTU)
	}
	for key := range o.Sysctls {
		if !isSysctl(key) {
			return fail(types.ErrInvalidNetworkConfig, nil, "sysctls: %q is none of the pod's own network (want net.NAME...)", key)
		}
	}
	return nil
}

// mtu is the MTU of a pod in the subnets, in bytes. More than the node's would
// be lost on the way to other nodes.
func (o *options) mtu(node int, subnets []netip.Prefix) (int, error) {
	least := minMTU
	if slices.ContainsFunc(subnets, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		least = minMTU6
	}
	switch {
	case o.MTU == 0:
		return node, nil
	case o.MTU > node:
		return 0, fail(types.ErrInvalidNetworkConfig, nil, "mtu %d is more than this node's %d", o.MTU, node)
	case o.MTU < least:
		return 0, fail(types.ErrInvalidNetworkConfig, nil, "mtu %d is less than IPv6 needs (%d)", o.MTU, least)
	}
	return o.MTU, nil
}

// Bounds of a pod's MTU in bytes: the least that IPv4 and IPv6 demand
// (RFC 791, RFC 8200) and the most that a packet can have.
const (
	minMTU  = 576
	minMTU6 = 1280
	maxMTU  = 65535
)

// isSysctl reports whether a key names a file below /proc/sys/net, which is
// what network namespaces have their own of, and nothing else.
func isSysctl(key string) bool {
	words := strings.Split(key, ".")
	for _, w := range words {
		if w == "" || strings.ContainsFunc(w, func(r rune) bool { return r <= ' ' || r == '/' || r > '~' }) {
			return false
		}
	}
	return len(words) > 2 && words[0] == "net"
}

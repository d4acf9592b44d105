package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weft-net/weft/fabric"
)

// ParseBGPFile reads the objects that override the fabric's on one node, as
// strictly as ParseObjects. A file without objects is fine: it overrides
// nothing. The result is never nil, its lists are sorted by name.
func ParseBGPFile(name string, data []byte) (*fabric.BGP, error) {
	docs, err := parse(name, data)
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return &fabric.BGP{}, nil
	}
	objects, err := ParseObjects(name, data)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if o.Fabric() != nil {
			return nil, fmt.Errorf("%s: kind: a Fabric is the same for all hosts, apply it with weft apply -f %s", o.Where, name)
		}
	}
	return BGPOf(objects), nil
}

// BGPOf collects what speakers are to do from objects of all kinds, each list
// sorted by name.
func BGPOf(objects []Object) *fabric.BGP {
	out := &fabric.BGP{}
	for _, o := range objects {
		name := o.Metadata.Name
		switch spec := o.Spec.(type) {
		case *fabric.BGPPeerSpec:
			out.Peers = append(out.Peers, fabric.BGPPeer{Name: name, Spec: *spec})
		case *fabric.BGPPolicySpec:
			out.Policies = append(out.Policies, fabric.BGPPolicy{Name: name, Spec: *spec})
		case *fabric.BGPPrefixSpec:
			out.Prefixes = append(out.Prefixes, fabric.BGPPrefix{Name: name, Spec: *spec})
		}
	}
	slices.SortFunc(out.Peers, func(a, b fabric.BGPPeer) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(out.Policies, func(a, b fabric.BGPPolicy) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(out.Prefixes, func(a, b fabric.BGPPrefix) int { return strings.Compare(a.Name, b.Name) })
	return out
}

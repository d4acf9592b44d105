package config

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/weft-net/weft/fabric"
)

// What a Fabric has where its file says nothing.
const (
	defaultSubnetIPv4 = 24
	defaultSubnetIPv6 = 64
	defaultVNI        = 1
	defaultPort       = 4789 // IANA's for VXLAN, RFC 7348 section 5
	defaultTTL        = fabric.Duration(24 * time.Hour)
	defaultLiveness   = fabric.Duration(15 * time.Second)

	defaultMinFree     = 10 // percent
	defaultMaxSubnets  = 8
	defaultReturnAfter = fabric.Duration(30 * time.Minute)
)

// The backends: how nodes reach each other's pods.
const (
	BackendVXLAN = "vxlan"
	BackendBGP   = "bgp"
)

func defaultSpec() *fabric.Spec {
	return &fabric.Spec{
		Backend:    BackendVXLAN,
		VXLAN:      fabric.VXLANSpec{VNI: defaultVNI, Port: defaultPort, DirectRouting: true},
		BGP:        defaultBGP(),
		Probe:      fabric.ProbeSpec{Port: fabric.ProbePort},
		Masquerade: fabric.MasqueradeSpec{Enabled: true},
		Lease:      fabric.LeaseSpec{TTL: defaultTTL, Liveness: defaultLiveness},
		Addresses:  fabric.AddressSpec{MinFree: defaultMinFree, MaxSubnets: defaultMaxSubnets, ReturnAfter: defaultReturnAfter},
	}
}

// completeSpec gives each family that has a network a subnet length, and BGP
// what it needs, also in a fabric that does not route yet: a migration may have
// it do so.
func completeSpec(s *fabric.Spec) {
	lengths := fabric.PerFamily[int]{IPv4: defaultSubnetIPv4, IPv6: defaultSubnetIPv6}
	for _, f := range fabric.Families {
		if s.Network.Get(f).IsValid() && s.SubnetLength.Get(f) == 0 {
			s.SubnetLength.Set(f, lengths.Get(f))
		}
	}
	for i := range s.PathRules {
		if r := &s.PathRules[i]; len(r.Peers) == 0 {
			r.Peers = nil // what {} means, and what is stored of it
		}
	}
	completeBGP(s)
}

// DecodeFabric reads what is stored under the key `fabric`. A newer version
// may have written it, so unknown fields are ignored; what no version could
// mean is refused with the reason, in one line. The caller keeps the last good
// spec then.
func DecodeFabric(data []byte) (*fabric.Spec, error) {
	if len(data) > maxInput {
		return nil, fmt.Errorf("fabric: larger than %d KiB, this is no Fabric object", maxInput>>10)
	}
	var head struct {
		APIVersion string          `json:"apiVersion"`
		Kind       string          `json:"kind"`
		Spec       json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("fabric: not a JSON object: %s", oneLine(err.Error()))
	}
	switch {
	case head.Kind != "Fabric":
		return nil, fmt.Errorf("fabric: kind is %.40q, want Fabric", head.Kind)
	case head.APIVersion != APIVersion:
		return nil, fmt.Errorf("fabric: apiVersion is %.40q, this version of weft knows %s", head.APIVersion, APIVersion)
	case len(head.Spec) == 0:
		return nil, fmt.Errorf("fabric: has no spec")
	}
	s := defaultSpec()
	if err := json.Unmarshal(head.Spec, s); err != nil {
		return nil, fmt.Errorf("fabric: spec: %s", oneLine(err.Error()))
	}
	completeSpec(s)
	if err := validateSpec(s); err != nil {
		return nil, fmt.Errorf("fabric: spec.%w", err)
	}
	return s, nil
}

// DecodeObject reads an object as it is stored, of any kind: leniently, as a
// newer version may have written it, so unknown fields are ignored. What no
// version could mean is refused with the reason, in one line.
func DecodeObject(data []byte) (Object, error) {
	if len(data) > maxInput {
		return Object{}, fmt.Errorf("stored object: larger than %d KiB", maxInput>>10)
	}
	var head struct {
		Object
		Spec json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Object{}, fmt.Errorf("stored object: %s", oneLine(err.Error()))
	}
	kind, err := kindNamed(head.Kind)
	switch {
	case err != nil:
		return Object{}, fmt.Errorf("stored object: %w", err)
	case head.APIVersion != APIVersion:
		return Object{}, fmt.Errorf("stored object: apiVersion is %.40q, this version of weft knows %s", head.APIVersion, APIVersion)
	case len(head.Spec) == 0:
		return Object{}, fmt.Errorf("stored %s: has no spec", head.Kind)
	}
	o := head.Object
	o.Spec = kind.new()
	if err := json.Unmarshal(head.Spec, o.Spec); err != nil {
		return Object{}, fmt.Errorf("stored %s: %s", o.Kind, oneLine(err.Error()))
	}
	kind.complete(o.Spec)
	if err := kind.validate(o.Spec); err != nil {
		return Object{}, fmt.Errorf("stored %s: %w", o.Kind, &problem{join("spec", err.path), err.text})
	}
	return o, nil
}

// Head is what can be told of a stored object without its spec, so that one
// that this version cannot read can be named and deleted.
func Head(data []byte) (kind, name string) {
	var head struct {
		Kind     string   `json:"kind"`
		Metadata Metadata `json:"metadata"`
	}
	if json.Unmarshal(data, &head) != nil {
		return "", ""
	}
	return head.Kind, head.Metadata.Name
}

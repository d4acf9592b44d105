package bgp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
)

// parsed reads what an operator writes.
func parsed(t testing.TB, yaml string) Objects {
	t.Helper()
	list, err := config.ParseObjects("objects.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	return Objects{Spec: config.SpecOf(list), BGP: config.BGPOf(list)}
}

// node is the i-th node: a host with addresses, a lease of each family, and
// labels like "role=reflector".
func node(i int, labels ...string) *fabric.Peer {
	p := &fabric.Peer{Alive: true, Node: fabric.Node{
		Name: fmt.Sprintf("n%d", i), ID: fabric.NodeID(fmt.Sprintf("id-%03d", i)), Index: uint32(i),
		Labels: make(map[string]string), Receives: []fabric.PathKind{fabric.PathBGP}, MTU: 1500,
	}}
	p.Underlay.IPv4 = addr(fmt.Sprintf("198.18.0.%d", i))
	p.Underlay.IPv6 = addr(fmt.Sprintf("2001:2::%x", i))
	for _, s := range []string{fmt.Sprintf("10.244.%d.0/24", i), fmt.Sprintf("fd00:244:0:%x::/64", i)} {
		p.Subnets = append(p.Subnets, fabric.Subnet{Prefix: prefix(s), Owner: p.ID})
	}
	for _, l := range labels {
		key, value, _ := strings.Cut(l, "=")
		p.Labels[key] = value
	}
	return p
}

// factsOf is what a node knows.
func factsOf(o Objects, self *fabric.Peer, nodes ...*fabric.Peer) Facts {
	f := Facts{Spec: o.Spec, BGP: o.BGP, Self: self.Node, Peers: nodes}
	f.Underlay.Addrs = self.Underlay
	for _, s := range self.Subnets {
		if o.Spec.Network.Get(fabric.FamilyOf(s.Prefix.Addr())).IsValid() {
			f.Subnets = append(f.Subnets, s.Prefix)
		}
	}
	return f
}

const dualStack = `
apiVersion: weft/v1
kind: Fabric
metadata: {name: default}
spec:
  network: {ipv4: 10.244.0.0/16, ipv6: fd00:244::/48}
  backend: bgp
  bgp: {asn: perNode}
`

const ipv4Only = `
apiVersion: weft/v1
kind: Fabric
metadata: {name: default}
spec:
  network: {ipv4: 10.244.0.0/16}
  backend: bgp
  bgp: {asn: "65000"}
`

// The smallest useful configuration, as the manual has it.
const tors = `
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: tors}
spec:
  nodes: {}
  peer: {gateways: all}
  asn: external
`

const everyOption = `
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: a}
spec:
  description: the one in the corner
  nodes: {rack: r1}
  peer: {address: 2001:2::ff}
  asn: "65001"
  localASN: 65010
  sourceAddress: 2001:2::1
  port: 1179
  passive: true
  gtsm: 1
  auth: {md5File: /etc/weft/bgp/a}
  timers: {hold: 30s, connectRetry: 10s}
  maxPrefixes: 100
  allowOwnASN: 1
  families: [ipv6]
  nextHopSelf: true
  communities: ["65000:1"]
  largeCommunities: ["65000:1:2"]
  med: 50
  prepend: 2
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: b}
spec:
  nodes: {}
  peer: {interface: eth1}
  asn: external
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: c}
spec:
  nodes: {}
  peer: {address: 198.18.7.7}
  asn: internal
  multihop: 4
  sourceInterface: lo
  prepend: 1
  med: 5
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: elsewhere}
spec:
  nodes: {rack: r2}
  peer: {address: 198.18.8.8}
  asn: external
`

const mesh = `
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: mesh}
spec:
  nodes: {}
  peer: {nodes: {}}
  asn: internal
`

const reflectors = `
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: rr}
spec:
  nodes: {}
  peer: {nodes: {role: reflector}}
  asn: internal
  routeReflector: {clusterID: 192.0.2.1}
`

const ranges = `
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: a}
spec:
  nodes: {}
  peer: {range: 198.18.0.0/24}
  asn: "65001"
  auth: {md5File: /etc/weft/bgp/a}
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: b}
spec:
  nodes: {}
  peer: {range: 198.18.0.128/25}
  asn: "65001"
`

const policies = tors + `
  import: [in]
  export: [out]
---
apiVersion: weft/v1
kind: BGPPolicy
metadata: {name: in}
spec:
  rules:
  - match: {prefixes: [{prefix: 0.0.0.0/0}]}
    set: {localPreference: 50}
    action: accept
  - match: {communities: ["65000:666"], peers: [tors]}
    action: reject
  - match: {peers: [198.18.1.254]}
    set: {localPreference: 200, removeCommunities: [no-export]}
    action: next
  - match: {prefixes: [{prefix: 203.0.113.0/24, max: 32}, {prefix: 10.0.0.0/8, min: 16}], asPath: ^65001_}
    action: accept
---
apiVersion: weft/v1
kind: BGPPolicy
metadata: {name: out}
spec:
  rules:
  - match: {largeCommunities: ["65000:1:2"]}
    set: {communities: [no-export], med: 7, prepend: 1}
    action: accept
`

const prefixes = `
---
apiVersion: weft/v1
kind: BGPPrefix
metadata: {name: a-always}
spec:
  nodes: {role: dns}
  prefixes: [203.0.113.53/32, 203.0.113.0/28]
  communities: ["65000:53"]
  localPreference: 150
  prepend: 2
---
apiVersion: weft/v1
kind: BGPPrefix
metadata: {name: b-sick}
spec:
  nodes: {}
  prefixes: [203.0.113.80/32]
  health: {tcp: "127.0.0.1:80"}
---
apiVersion: weft/v1
kind: BGPPrefix
metadata: {name: c-well}
spec:
  nodes: {}
  prefixes: [203.0.113.81/32, 203.0.113.53/32]
  health: {http: "http://127.0.0.1:8080/"}
---
apiVersion: weft/v1
kind: BGPPrefix
metadata: {name: d-unknown}
spec:
  nodes: {}
  prefixes: [203.0.113.82/32]
  health: {tcp: "127.0.0.1:82"}
---
apiVersion: weft/v1
kind: BGPPrefix
metadata: {name: e-stolen}
spec:
  nodes: {}
  prefixes: [10.244.2.7/32, 10.244.1.7/32]
---
apiVersion: weft/v1
kind: BGPPrefix
metadata: {name: f-elsewhere}
spec:
  nodes: {role: web}
  prefixes: [203.0.113.99/32]
`

const faults = `
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: a}
spec: {nodes: {}, peer: {gateways: all}, asn: external, import: [none], auth: {md5File: /etc/weft/bgp/gone}}
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: b}
spec: {nodes: {}, peer: {address: 198.18.0.254}, asn: external}
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: c}
spec: {nodes: {}, peer: {nodes: {}}, asn: internal}
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: d}
spec: {nodes: {}, peer: {address: 198.18.0.1}, asn: external}
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: e}
spec: {nodes: {}, peer: {address: 198.18.7.7}, asn: external, auth: {md5File: /etc/weft/bgp/unread}}
`

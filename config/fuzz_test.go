package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// checkError fails unless an error is one line that begins as it should.
func checkError(t *testing.T, err error, prefix string) {
	t.Helper()
	if text := err.Error(); !strings.HasPrefix(text, prefix) || strings.ContainsAny(text, "\n\r") {
		t.Errorf("error is not one line that begins with %s: %q", prefix, text)
	}
}

func FuzzNodeFile(f *testing.F) {
	f.Add([]byte(Reference))
	f.Add([]byte("etcd:\n  endpoints: ['http://a:1', b:2]\n  dialTimeout: 1s\ncni: {write: true}\n"))
	f.Add([]byte("underlay:\n  address: 192.0.2.1\nnodeName: a.b\nnodeID: x\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		values := make(map[string]value)
		if err := parseNode("weftd.yaml", data, values); err != nil {
			checkError(t, err, "weftd.yaml:")
			return
		}
		n := defaults()
		for _, k := range keys {
			if v, ok := values[k.path]; ok && k.set(n, v.text) != nil {
				return
			}
		}
		if err := complete(n); err != nil {
			return
		}
		// What was accepted holds what the rest of the program counts on.
		if len(n.Etcd.Endpoints) == 0 || !strings.HasPrefix(n.Etcd.Prefix, "/") || strings.HasSuffix(n.Etcd.Prefix, "/") {
			t.Errorf("accepted: %+v", n.Etcd)
		}
		for _, e := range n.Etcd.Endpoints {
			if !strings.HasPrefix(e, "http://") && !strings.HasPrefix(e, "https://") || strings.Contains(e, "@") {
				t.Errorf("accepted endpoint %q", e)
			}
		}
	})
}

func FuzzObjects(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(fullJSON))
	f.Add([]byte(head + "  network: {ipv6: 'fd00::/48'}\n  lease: {ttl: 48h}\n---\nkind: BGPPeer\n"))
	f.Add([]byte(routed + "  bgp: {asn: perLabel, asns: {r1: 65001, '': 2}, timers: {hold: 9s}, bmp: ['a:1']}\n"))
	f.Add([]byte(fullPeer + "---\n" + fullPolicy + "---\n" + fullPrefix))
	f.Add([]byte("[" + fullJSON + "]"))
	f.Add([]byte(peerHead + "  med: 0\n  timers: {hold: 3s}\n  routeReflector: {clusterID: 0.0.0.0}\n"))
	f.Add([]byte(head + "  network: {ipv4: 10.0.0.0/8}\n  overlay: never\n  pathRules:\n  - {nodes: {a: b}, peers: {}, paths: [direct]}\n  - {nodes: {}, overlay: always}\n"))
	f.Add([]byte(head + "  reserved:\n  - 10.0.0.0/8\n  masquerade: &x {except: []}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, err := ParseObjects("fabric.yaml", data)
		if err != nil {
			checkError(t, err, "fabric.yaml:")
			return
		}
		for _, o := range objects {
			stored, err := o.Encode()
			if err != nil {
				t.Fatal(err)
			}
			got, err := DecodeObject(stored)
			if err != nil {
				t.Fatalf("accepted, but agents refuse it: %v\n%s", err, stored)
			}
			got.Where = o.Where
			if diff := cmp.Diff(o, got, cmpAddrs); diff != "" {
				t.Errorf("agents read something else (-written +read):\n%s", diff)
			}
		}
		for _, c := range CheckObjects(BGPOf(objects), nil, nil) {
			checkError(t, errString(c.Path+": "+c.Text), "spec.")
		}
	})
}

func FuzzDecodeObject(f *testing.F) {
	for _, text := range []string{full, routed, fullPeer, fullPolicy, fullPrefix, peerHead} {
		objects, err := ParseObjects("seed", []byte(text))
		if err != nil {
			f.Fatal(err)
		}
		raw, err := objects[0].Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := DecodeObject(data)
		if err != nil {
			checkError(t, err, "stored ")
			return
		}
		raw, err := o.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeObject(raw); err != nil || !cmp.Equal(o, back, cmpAddrs) {
			t.Errorf("read again: %v\n%s", err, cmp.Diff(o, back, cmpAddrs))
		}
	})
}

func FuzzBGPFile(f *testing.F) {
	f.Add([]byte(fullPeer + "---\n" + fullPolicy + "---\n" + fullPrefix))
	f.Add([]byte("# nothing\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ParseBGPFile("bgp.yaml", data)
		if err != nil {
			checkError(t, err, "bgp.yaml:")
			return
		}
		for _, p := range b.Peers {
			if p.Spec.Nodes == nil || p.Spec.ASN == "" || p.Spec.Multihop != 0 && p.Spec.GTSM != 0 {
				t.Errorf("accepted peer %+v", p)
			}
		}
	})
}

func FuzzDecodeFabric(f *testing.F) {
	f.Add([]byte(fullJSON))
	f.Add([]byte(stored(`{"network":{"ipv4":"10.0.0.0/8","ipv6":"fd00::/48"},"reserved":["10.0.0.0/24"]}`)))
	f.Add([]byte(stored(`{"network":{"ipv4":"10.0.0.0/8"},"paths":["bgp","vxlan"],"pathRules":[{"nodes":{},"peers":{},"overlay":"never"}],"probe":{"port":1},"vxlan":{"generation":1}}`)))
	f.Add([]byte(stored(`{"network":{"ipv4":"10.0.0.0/8"},"paths":[],"pathRules":[],"overlay":"x","probe":{}}`)))
	f.Add([]byte(stored(`{"network":{"ipv4":"0.0.0.0/0"},"vxlan":{"vni":-1}}`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := DecodeFabric(data)
		if err != nil {
			checkError(t, err, "fabric: ")
			return
		}
		for _, p := range s.Networks() {
			if p != p.Masked() || p.Bits() == 0 || p.Addr().IsMulticast() || p.Addr().IsLoopback() {
				t.Errorf("accepted network %s", p)
			}
		}
		again, err := Object{APIVersion: APIVersion, Kind: "Fabric", Spec: s}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeFabric(again); err != nil || !cmp.Equal(s, back, cmpAddrs) {
			t.Errorf("read again: %v\n%s", err, cmp.Diff(s, back, cmpAddrs))
		}
	})
}

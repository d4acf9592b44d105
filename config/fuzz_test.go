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
			got, err := DecodeFabric(stored)
			if err != nil {
				t.Fatalf("accepted, but agents refuse it: %v\n%s", err, stored)
			}
			if diff := cmp.Diff(o.Fabric(), got, cmpAddrs); diff != "" {
				t.Errorf("agents read something else (-written +read):\n%s", diff)
			}
		}
	})
}

func FuzzDecodeFabric(f *testing.F) {
	f.Add([]byte(fullJSON))
	f.Add([]byte(stored(`{"network":{"ipv4":"10.0.0.0/8","ipv6":"fd00::/48"},"reserved":["10.0.0.0/24"]}`)))
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

package fabric

import (
	"encoding/json"
	"net/netip"
	"testing"
)

func TestMAC(t *testing.T) {
	for _, tt := range []struct {
		text  string
		ok    bool
		valid bool
	}{
		{"02:00:5e:10:00:01", true, true},
		{"01:00:5e:00:00:01", true, false}, // a group
		{"00:00:00:00:00:00", true, false},
		{"02:00:5e:10:00:01:02:03", false, false}, // EUI-64
		{"nonsense", false, false},
	} {
		m, err := ParseMAC(tt.text)
		if (err == nil) != tt.ok || m.Valid() != tt.valid {
			t.Errorf("%s: got %v, %v, valid %t", tt.text, m, err, m.Valid())
		}
	}
	a, b := DeriveMAC("ab", "c"), DeriveMAC("a", "bc")
	if a == b || !a.Valid() || a[0]&2 == 0 {
		t.Errorf("derived %v and %v: want two locally administered unicast addresses", a, b)
	}
	var zero MAC
	text, err := json.Marshal(map[string]MAC{"a": a, "zero": zero})
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]MAC
	if err := json.Unmarshal(text, &back); err != nil || back["a"] != a || back["zero"] != zero {
		t.Errorf("%s came back as %v, %v", text, back, err)
	}
}

func TestPerFamily(t *testing.T) {
	var p PerFamily[int]
	for _, f := range Families {
		p.Set(f, f.Bits())
	}
	if p.Get(IPv4) != 32 || p.Get(IPv6) != 128 {
		t.Errorf("got %+v", p)
	}
	for text, want := range map[string]Family{"10.0.0.1": IPv4, "fd00::1": IPv6, "::ffff:10.0.0.1": IPv6} {
		if got := FamilyOf(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}

func TestSnapshotPeer(t *testing.T) {
	s := &Snapshot{Peers: []*Peer{{Node: Node{ID: "a"}}, {Node: Node{ID: "c"}}}}
	for id, want := range map[NodeID]*Peer{"a": s.Peers[0], "b": nil, "c": s.Peers[1], "d": nil} {
		if got := s.Peer(id); got != want {
			t.Errorf("%s: got %v, want %v", id, got, want)
		}
	}
}

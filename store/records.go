package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"unique"

	"github.com/weft-net/weft/fabric"
)

// maxValue bounds a record's size in bytes. The largest honest node record is
// a few hundred bytes; etcd itself takes 1.5 MiB.
const maxValue = 64 << 10

// aliveValue is the value of `alive/<name>`: which host holds the name, and
// in which life. A restarted agent of the same host finds its own instance
// there; a second host with the same name or id does not.
type aliveValue struct {
	ID       fabric.NodeID `json:"id"`
	Instance string        `json:"instance"`
}

// removedValue is the value of `removed/<name>`: an operator took the node
// out, so its going is a fact and not a loss of information.
type removedValue struct {
	ID fabric.NodeID `json:"id"`
}

// decodeNode reads a node record. Fields that it does not know are ignored:
// versions are mixed during an upgrade.
func decodeNode(name string, value []byte) (*fabric.Node, error) {
	n := new(fabric.Node)
	if err := decodeJSON(value, n); err != nil {
		return nil, err
	}
	if n.Name == "" {
		n.Name = name
	}
	share(n)
	if n.Name != name {
		return nil, fmt.Errorf("the record's name is %.64q, its key's %q", n.Name, name)
	}
	if err := checkNode(n); err != nil {
		return nil, err
	}
	if err := checkUnderlay(n.Underlay); err != nil {
		return nil, err
	}
	return n, nil
}

// share takes the words that all nodes say from one place: ten thousand nodes
// need not hold copies.
func share(n *fabric.Node) {
	n.Version = unique.Make(n.Version).Value()
	for i, said := range n.Receives {
		for _, k := range [...]fabric.PathKind{fabric.PathVXLAN, fabric.PathDirect, fabric.PathBGP} {
			if said == k {
				n.Receives[i] = k
			}
		}
	}
}

// maxIndex bounds the index: numbers that follow from it (kernel.NexthopID)
// have 20 bits for it.
const maxIndex = 1<<20 - 1

func checkNode(n *fabric.Node) error {
	switch {
	case n.ID == "" || len(n.ID) > maxName:
		return fmt.Errorf("the node id has %d characters (want 1 to %d)", len(n.ID), maxName)
	case n.Index == 0 || n.Index > maxIndex:
		return fmt.Errorf("index %d (want 1 to %d)", n.Index, maxIndex)
	case n.VTEPMAC != fabric.MAC{} && !n.VTEPMAC.Valid():
		return fmt.Errorf("VTEP MAC %s is a group address", n.VTEPMAC)
	case n.MTU < 0 || n.MTU > 1<<16:
		return fmt.Errorf("MTU %d (want 0 to 65536)", n.MTU)
	}
	return nil
}

func checkUnderlay(addrs fabric.PerFamily[netip.Addr]) error {
	for _, f := range fabric.Families {
		a := addrs.Get(f)
		if !a.IsValid() {
			continue
		}
		if fabric.FamilyOf(a) != f || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a == broadcast {
			return fmt.Errorf("underlay address %v cannot be that of a host (%v)", a, f)
		}
	}
	return nil
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// decodeSubnet reads a subnet record.
func decodeSubnet(p netip.Prefix, value []byte) (*fabric.Subnet, error) {
	s := new(fabric.Subnet)
	if err := decodeJSON(value, s); err != nil {
		return nil, err
	}
	switch {
	case p.Bits() == 0:
		return nil, fmt.Errorf("%v is a default route, not a subnet", p)
	case s.Owner == "" && s.For == "":
		return nil, fmt.Errorf("neither an owner nor a node it is reserved for")
	case len(s.Owner) > maxName:
		return nil, fmt.Errorf("the owner's node id has %d characters (want at most %d)", len(s.Owner), maxName)
	}
	if s.For != "" {
		if err := checkName(s.For); err != nil {
			return nil, err
		}
	}
	s.Prefix = p
	return s, nil
}

func decodeJSON(value []byte, to any) error {
	switch trimmed := bytes.TrimSpace(value); {
	case len(trimmed) == 0:
		return fmt.Errorf("the value is empty")
	case len(value) > maxValue:
		return fmt.Errorf("the value has %d bytes (want at most %d)", len(value), maxValue)
	case trimmed[0] != '{':
		return fmt.Errorf("the value is not a JSON object")
	}
	if err := json.Unmarshal(value, to); err != nil {
		return fmt.Errorf("not a record of weft: %w", err)
	}
	return nil
}

// encodeJSON cannot fail for the plain structs it is given.
func encodeJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "" // decodes as empty, that is as a bad record
	}
	return string(b)
}

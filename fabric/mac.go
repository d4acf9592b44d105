package fabric

import (
	"crypto/sha256"
	"fmt"
	"net"
)

// MAC is an EUI-48 address. It is comparable, so it can be a map key.
type MAC [6]byte

// ParseMAC parses the colon form of an EUI-48 unicast address.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return MAC{}, fmt.Errorf("%q is not a MAC address (want the form 02:00:5e:10:00:01)", s)
	}
	return MAC(hw), nil
}

// DeriveMAC returns a locally administered unicast address that depends on
// the words alone, so that a device that is made anew has the address its
// peers already know.
func DeriveMAC(words ...string) MAC {
	h := sha256.New()
	for _, w := range words {
		fmt.Fprintf(h, "%d:%s", len(w), w)
	}
	m := MAC(h.Sum(nil)[:6])
	m[0] = m[0]&^1 | 2
	return m
}

// Valid reports whether m can be the address of one interface: neither zero
// nor a group address (IEEE 802, I/G bit).
func (m MAC) Valid() bool { return m != MAC{} && m[0]&1 == 0 }

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// MarshalText gives the colon form; the zero value is the empty text.
func (m MAC) MarshalText() ([]byte, error) {
	if m == (MAC{}) {
		return nil, nil
	}
	return []byte(m.String()), nil
}

// UnmarshalText parses what MarshalText gives.
func (m *MAC) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*m = MAC{}
		return nil
	}
	*m, err = ParseMAC(string(b))
	return err
}

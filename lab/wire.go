package lab

import (
	"errors"
	"net/netip"
)

// wireName is the device at both ends of a wire.
const wireName = "wire"

// Wire joins two namespaces by a pair of interfaces with these addresses, and
// nothing in between: what a packet costs at least.
func Wire(a, b *Namespace, atA, atB netip.Prefix) error {
	if err := veth(a, wireName, b, wireName, 1500); err != nil {
		return err
	}
	return errors.Join(a.addAddr(wireName, atA), b.addAddr(wireName, atB))
}

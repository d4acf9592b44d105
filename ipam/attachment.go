package ipam

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Bounds of an attachment's texts, in bytes: what a slot has room for. The
// interface's is the kernel's (IFNAMSIZ less the NUL).
const (
	MaxContainer = 128
	MaxInterface = 15
)

// hostPrefix begins the name of every host-side interface; with the digits it
// fills the 15 bytes that the kernel allows.
const hostPrefix = "weft"

const hostDigits = 11

// Attachment names one interface of one container, as the runtime does.
type Attachment struct {
	Container string // CNI_CONTAINERID
	Interface string // CNI_IFNAME
}

func (a Attachment) String() string { return a.Container + "/" + a.Interface }

// Check reports whether the attachment fits a slot.
func (a Attachment) Check() error {
	switch {
	case a.Container == "" || len(a.Container) > MaxContainer:
		return fmt.Errorf("container id of %d bytes (want 1 to %d)", len(a.Container), MaxContainer)
	case a.Interface == "" || len(a.Interface) > MaxInterface:
		return fmt.Errorf("interface name of %d bytes (want 1 to %d)", len(a.Interface), MaxInterface)
	}
	return nil
}

// key identifies an attachment in the slot file's index.
type key [16]byte

func (a Attachment) key() key {
	sum := sha256.Sum256([]byte(a.Container + "\x00" + a.Interface))
	return key(sum[:16])
}

// HostInterface is the name of the attachment's interface on the host. It
// follows from the attachment alone, so that a DEL with nothing but the
// container's id finds it.
func (a Attachment) HostInterface() string {
	k := a.key()
	return hostPrefix + hex.EncodeToString(k[:6])[:hostDigits]
}

// IsHostInterface reports whether a name has the form that HostInterface
// gives, which no other device of weft's has.
func IsHostInterface(name string) bool {
	digits, ok := strings.CutPrefix(name, hostPrefix)
	return ok && len(digits) == hostDigits && strings.Trim(digits, "0123456789abcdef") == ""
}

// NetworkKey stands for a network's name in a slot; zero for the empty name.
func NetworkKey(name string) (key [8]byte) {
	if name != "" {
		digest := sha256.Sum256([]byte(name))
		copy(key[:], digest[:])
	}
	return key
}

// InNetwork reports whether it is known of which network the slot's attachment
// is or was, and whether that is the one of this name. Not known are addresses
// that were found on the kernel.
func (s Slot) InNetwork(name string) (known, same bool) {
	known = s.network != [8]byte{}
	return known, known && s.network == NetworkKey(name)
}

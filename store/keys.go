package store

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weft-net/weft/fabric"
)

// DefaultPrefix is where the fabric lives in etcd unless told otherwise.
const DefaultPrefix = "/weft/v1"

// KeyMigration is the key of the migration under way, below the prefix.
const KeyMigration = "migration"

// The keys below the prefix, see docs/design and DESIGN section 4.
const (
	keyFabric  = "fabric"
	dirNodes   = "nodes/"
	dirAlive   = "alive/"
	dirRemoved = "removed/"
	dirSubnets = "subnets/"

	dirBGPPeers    = "bgppeers/"
	dirBGPPolicies = "bgppolicies/"
	dirBGPPrefixes = "bgpprefixes/"
	dirDrained     = "drained/"
	dirDeleted     = "deleted/" // and the key of an object
	dirLocks       = "locks/"

	keyMigration = KeyMigration
	dirMigrating = "migrating/"
	dirFinished  = "finished/" // and the id of a migration
)

// maxName is the longest name, that of a DNS name (RFC 1035, 2.3.4).
const maxName = 253

type kind uint8

const (
	kindUnknown kind = iota // somebody else's key: none of our business
	kindFabric
	kindNode
	kindAlive
	kindRemoved
	kindSubnet
	kindObject  // that operators write: BGPPeer, BGPPolicy, BGPPrefix, drain, migration
	kindDeleted // the mark that an operator deleted an object
	kindLock
	kindReport   // of a node on the migration
	kindFinished // the mark that a migration was finished
)

// keyInfo is what a key says.
type keyInfo struct {
	kind   kind
	name   string       // of a node or an object; of a mark, the object's key
	lock   string       // escaped; name is then the node's
	prefix netip.Prefix // of a subnet
}

// parseKey reads a key relative to the prefix. The error is about a key in
// one of our own folders that no version of weft would write.
func parseKey(rel string) (keyInfo, error) {
	switch rel {
	case keyFabric:
		return keyInfo{kind: kindFabric}, nil
	case keyMigration:
		return keyInfo{kind: kindObject, name: rel}, nil
	}
	i := strings.IndexByte(rel, '/') + 1
	dir, rest := rel[:i], rel[i:]
	switch dir {
	case dirNodes:
		return keyInfo{kind: kindNode, name: rest}, checkName(rest)
	case dirAlive:
		return keyInfo{kind: kindAlive, name: rest}, checkName(rest)
	case dirRemoved:
		return keyInfo{kind: kindRemoved, name: rest}, checkName(rest)
	case dirSubnets:
		p, err := parseSubnetKey(rest)
		return keyInfo{kind: kindSubnet, prefix: p}, err
	case dirBGPPeers, dirBGPPolicies, dirBGPPrefixes, dirDrained:
		return keyInfo{kind: kindObject, name: rest}, checkName(rest)
	case dirDeleted:
		return keyInfo{kind: kindDeleted, name: rest}, checkDeleted(rest)
	case dirMigrating:
		return keyInfo{kind: kindReport, name: rest}, checkName(rest)
	case dirFinished:
		return keyInfo{kind: kindFinished, name: rest}, checkName(rest)
	case dirLocks:
		lock, node, _ := strings.Cut(rest, "/")
		err := checkName(lock)
		if err == nil {
			err = checkName(node)
		}
		return keyInfo{kind: kindLock, lock: lock, name: node}, err
	}
	return keyInfo{}, nil
}

func checkDeleted(rest string) error {
	if !isObject(rest) {
		return fmt.Errorf("%.64q is not the key of an object", rest)
	}
	return nil
}

func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("a name has 1 to %d characters, this one %d", maxName, len(name))
	}
	for _, r := range name {
		if r <= ' ' || r == '/' || r > '~' {
			return fmt.Errorf("name %.64q has the character %q (want letters, digits and punctuation, no /)", name, r)
		}
	}
	return nil
}

func nodeKey(name string) string    { return dirNodes + name }
func aliveKey(name string) string   { return dirAlive + name }
func removedKey(name string) string { return dirRemoved + name }
func drainedKey(name string) string { return dirDrained + name }
func reportKey(node string) string  { return dirMigrating + node }
func finishedKey(id string) string  { return dirFinished + id }
func deletedKey(key string) string  { return dirDeleted + key }

// lockKey is the key by which a node stands in the queue for a lock, whose
// name is escaped already.
func lockKey(lock, node string) string { return dirLocks + lock + "/" + node }

// isObject reports whether a key is that of an object that operators write and
// delete, one by one: neither the Fabric nor a migration.
func isObject(key string) bool {
	if key == keyMigration || strings.HasPrefix(key, dirDeleted) {
		return false
	}
	info, err := parseKey(key)
	return err == nil && info.kind == kindObject
}

// subnetKey is the key of p: its first address in full width and its length,
// `subnets/ipv4/010.244.003.000-24`. The fixed width makes the order of the
// keys the order of the addresses, so that one range comparison covers all
// that lies inside a prefix.
func subnetKey(p netip.Prefix) string {
	return addrKey(p.Addr()) + "-" + strconv.Itoa(p.Bits())
}

// addrKey is the common beginning of the keys of all subnets that start at a.
func addrKey(a netip.Addr) string {
	if a.Is4() {
		key := []byte(dirSubnets + "ipv4/000.000.000.000")
		at := len(key) - len("000.000.000.000")
		for i, b := range a.As4() {
			key[at+4*i], key[at+4*i+1], key[at+4*i+2] = '0'+b/100, '0'+b/10%10, '0'+b%10
		}
		return string(key)
	}
	return dirSubnets + "ipv6/" + expand(a.As16())
}

// expand writes all eight groups of an IPv6 address; StringExpanded would
// write a 4-in-6 address in its mixed form.
func expand(b [16]byte) string {
	h := hex.EncodeToString(b[:])
	groups := make([]string, 0, 8)
	for i := 0; i < len(h); i += 4 {
		groups = append(groups, h[i:i+4])
	}
	return strings.Join(groups, ":")
}

// subnetRange is the half-open range of keys of all subnets whose first
// address lies in p.
func subnetRange(p netip.Prefix) (from, to string) {
	from = addrKey(p.Addr())
	if next := lastAddr(p).Next(); next.IsValid() && next.Is4() == p.Addr().Is4() {
		return from, addrKey(next)
	}
	return from, dirSubnets + fabric.FamilyOf(p.Addr()).String() + "0" // '0' follows '/'
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// parseSubnetKey reads the part of a subnet's key after `subnets/`. Only the
// one canonical form is accepted: the overlap check depends on it.
func parseSubnetKey(rest string) (netip.Prefix, error) {
	fam, text, _ := strings.Cut(rest, "/")
	addr, length, _ := strings.Cut(text, "-")
	var a netip.Addr
	var err error
	switch fam {
	case fabric.IPv4.String():
		a, err = parsePadded4(addr)
	case fabric.IPv6.String():
		a, err = netip.ParseAddr(addr)
		if err == nil && (!a.Is6() || a.Zone() != "") {
			err = fmt.Errorf("not an IPv6 address")
		}
	default:
		return netip.Prefix{}, fmt.Errorf("%.64q is not a subnet key (want subnets/ipv4/... or subnets/ipv6/...)", rest)
	}
	bits, lenErr := strconv.Atoi(length)
	if err != nil || lenErr != nil || bits < 0 || bits > a.BitLen() {
		return netip.Prefix{}, fmt.Errorf("%.64q is not a subnet key (want the form ipv4/010.244.003.000-24)", rest)
	}
	p := netip.PrefixFrom(a, bits)
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%v has bits set after its length", p)
	}
	if want := subnetKey(p); want != dirSubnets+rest {
		return netip.Prefix{}, fmt.Errorf("%.64q is not in canonical form (want %s)", rest, want)
	}
	return p, nil
}

// parsePadded4 reads 010.244.003.000, which netip refuses for its zeros.
func parsePadded4(s string) (netip.Addr, error) {
	var b [4]byte
	i := 0
	for part := range strings.SplitSeq(s, ".") {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil || i == len(b) {
			return netip.Addr{}, fmt.Errorf("not an IPv4 address")
		}
		b[i] = byte(n)
		i++
	}
	if i < len(b) {
		return netip.Addr{}, fmt.Errorf("not an IPv4 address")
	}
	return netip.AddrFrom4(b), nil
}

package plumb

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// The guard's table, as nft(8) shows it. How many rules there are does not
// depend on the pods; they are elements of three sets:
//
//	table bridge weft {
//	  set ports { type ifname; }
//	  set ipv4 { type ifname . ether_addr . ipv4_addr; }
//	  set ipv6 { type ifname . ether_addr . ipv6_addr; }
//	  chain guard { type filter hook prerouting priority -310; policy accept; ... }
//	}
//
// A frame of a port in ports passes if a rule accepts it and is dropped at the
// chain's end otherwise: what no rule has thought of is not let through. The
// hook is before the bridge learns who sent the frame.
const (
	GuardTable = "weft"
	guardChain = "guard"
	setPorts   = "ports"
	setIPv4    = "ipv4"
	setIPv6    = "ipv6"
	// guardPriority is before dnat (-300) and, on kernels that have it, the
	// bridge's connection tracking (-200): neither should see what is forged.
	guardPriority = -310
	// guardSize is how many elements a set holds. A bridge has at most 1023
	// ports, and a port needs three in ipv6; with a bound the kernel takes a
	// plain hash table (net/netfilter/nft_set_hash.c, nft_hash_estimate), which
	// is faster than one that grows.
	guardSize = 8192
)

// nftables' names of types, for nft(8) to show keys as what they are; in a
// concatenation each has six bits.
const (
	typeIPv4   = 7
	typeIPv6   = 8
	typeEther  = 9
	typeIfname = 41
)

type guardSet struct {
	name        string
	typ, length uint32 // of the key
}

func guardSets() []guardSet {
	const pair = typeIfname<<12 | typeEther<<6
	return []guardSet{{setPorts, typeIfname, 16}, {setIPv4, pair | typeIPv4, 28}, {setIPv6, pair | typeIPv6, 40}}
}

// build adds the messages that make the table, its sets and its rules. What is
// there stays or, rules, is put right, and elements stay.
func build(b *rtnl.Batch) {
	nft(b, unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE)
	b.String(unix.NFTA_TABLE_NAME, GuardTable)
	b.U32BE(unix.NFTA_TABLE_FLAGS, 0)
	for i, s := range guardSets() {
		nft(b, unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE)
		b.String(unix.NFTA_SET_TABLE, GuardTable)
		b.String(unix.NFTA_SET_NAME, s.name)
		b.U32BE(unix.NFTA_SET_FLAGS, 0)
		b.U32BE(unix.NFTA_SET_KEY_TYPE, s.typ)
		b.U32BE(unix.NFTA_SET_KEY_LEN, s.length)
		b.U32BE(unix.NFTA_SET_ID, uint32(i+1))
		desc := b.Nest(unix.NFTA_SET_DESC)
		b.U32BE(unix.NFTA_SET_DESC_SIZE, guardSize)
		b.End(desc)
		if s.typ == typeIfname { // alone in its key, which nft(8) takes for a number otherwise
			b.Bytes(unix.NFTA_SET_USERDATA, hostOrder())
		}
	}
	nft(b, unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE)
	b.String(unix.NFTA_CHAIN_TABLE, GuardTable)
	b.String(unix.NFTA_CHAIN_NAME, guardChain)
	hook := b.Nest(unix.NFTA_CHAIN_HOOK)
	const prerouting = 0 // NF_BR_PRE_ROUTING
	b.U32BE(unix.NFTA_HOOK_HOOKNUM, prerouting)
	b.U32BE(unix.NFTA_HOOK_PRIORITY, 1<<32+guardPriority)
	b.End(hook)
	b.U32BE(unix.NFTA_CHAIN_POLICY, nfAccept)
	b.String(unix.NFTA_CHAIN_TYPE, "filter")
	// Without a handle it takes every rule out: two plugins at a time, or rules
	// that somebody changed, leave one set of rules.
	nft(b, unix.NFT_MSG_DELRULE, 0)
	b.String(unix.NFTA_RULE_TABLE, GuardTable)
	b.String(unix.NFTA_RULE_CHAIN, guardChain)
	for _, r := range guardRules() {
		nft(b, unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND)
		b.String(unix.NFTA_RULE_TABLE, GuardTable)
		b.String(unix.NFTA_RULE_CHAIN, guardChain)
		list := b.Nest(unix.NFTA_RULE_EXPRESSIONS)
		for _, e := range r.steps {
			e(b)
		}
		b.End(list)
		b.Bytes(unix.NFTA_RULE_USERDATA, remark(r.text))
	}
}

// hostOrder is user data of a set as nft(8) writes it (libnftnl's
// NFTNL_UDATA_SET_KEYBYTEORDER: host).
func hostOrder() []byte { return binary.NativeEndian.AppendUint32([]byte{0, 4}, 1) }

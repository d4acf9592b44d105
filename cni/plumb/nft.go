package plumb

import (
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// The part of nftables' netlink language that the guard speaks
// (linux/netfilter/nf_tables.h). Numbers in it are in network order; what is
// compared with packets is as it is in packets.

// nft starts a message about something in a table of the family bridge.
func nft(b *rtnl.Batch, typ, flags uint16) {
	b.Netfilter(unix.NFNL_SUBSYS_NFTABLES, typ, flags, unix.NFPROTO_BRIDGE)
}

// expression adds one step of a rule.
type expression func(b *rtnl.Batch)

func step(b *rtnl.Batch, name string, data func()) {
	elem := b.Nest(unix.NFTA_LIST_ELEM)
	b.String(unix.NFTA_EXPR_NAME, name)
	nest := b.Nest(unix.NFTA_EXPR_DATA)
	data()
	b.End(nest)
	b.End(elem)
}

// value adds data of a register.
func value(b *rtnl.Batch, typ uint16, v []byte) {
	nest := b.Nest(typ)
	b.Bytes(unix.NFTA_DATA_VALUE, v)
	b.End(nest)
}

// load copies length bytes of a header (NFT_PAYLOAD_*) from offset on into the
// register reg; it and what follows in the rule are skipped if the packet ends
// earlier.
func load(header, offset, length, reg uint32) expression {
	return func(b *rtnl.Batch) {
		step(b, "payload", func() {
			b.U32BE(unix.NFTA_PAYLOAD_DREG, reg)
			b.U32BE(unix.NFTA_PAYLOAD_BASE, header)
			b.U32BE(unix.NFTA_PAYLOAD_OFFSET, offset)
			b.U32BE(unix.NFTA_PAYLOAD_LEN, length)
		})
	}
}

// meta loads what the kernel knows of the packet (NFT_META_*).
func meta(key, reg uint32) expression {
	return func(b *rtnl.Batch) {
		step(b, "meta", func() {
			b.U32BE(unix.NFTA_META_DREG, reg)
			b.U32BE(unix.NFTA_META_KEY, key)
		})
	}
}

// compare goes on with the rule if reg and data compare as op (NFT_CMP_*) says.
func compare(op, reg uint32, data []byte) expression {
	return func(b *rtnl.Batch) {
		step(b, "cmp", func() {
			b.U32BE(unix.NFTA_CMP_SREG, reg)
			b.U32BE(unix.NFTA_CMP_OP, op)
			value(b, unix.NFTA_CMP_DATA, data)
		})
	}
}

// mask ands a register with a mask.
func mask(reg uint32, mask ...byte) expression {
	return func(b *rtnl.Batch) {
		step(b, "bitwise", func() {
			b.U32BE(unix.NFTA_BITWISE_SREG, reg)
			b.U32BE(unix.NFTA_BITWISE_DREG, reg)
			b.U32BE(unix.NFTA_BITWISE_LEN, uint32(len(mask)))
			value(b, unix.NFTA_BITWISE_MASK, mask)
			value(b, unix.NFTA_BITWISE_XOR, make([]byte, len(mask)))
		})
	}
}

// lookup goes on if the set has the key that begins at regPort.
func lookup(set string) expression {
	return func(b *rtnl.Batch) {
		step(b, "lookup", func() {
			b.String(unix.NFTA_LOOKUP_SET, set)
			b.U32BE(unix.NFTA_LOOKUP_SREG, regPort)
		})
	}
}

// count counts the packets that come this far.
func count(b *rtnl.Batch) { step(b, "counter", func() {}) }

// verdict ends the packet's way through the chain (NF_*).
func verdict(code uint32) expression {
	return func(b *rtnl.Batch) {
		step(b, "immediate", func() {
			b.U32BE(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
			data := b.Nest(unix.NFTA_IMMEDIATE_DATA)
			nest := b.Nest(unix.NFTA_DATA_VERDICT)
			b.U32BE(unix.NFTA_VERDICT_CODE, code)
			b.End(nest)
			b.End(data)
		})
	}
}

// remark is user data as nft(8) writes and shows it: a comment (type 0 of
// libnftnl's udata, for rules and for elements alike).
func remark(text string) []byte {
	out := append([]byte{0, byte(len(text) + 1)}, text...)
	return append(out, 0)
}

// parseRemark is the inverse of remark; empty for anything else.
func parseRemark(data []byte) string {
	if len(data) < 3 || data[0] != 0 || int(data[1]) != len(data)-2 || data[len(data)-1] != 0 {
		return ""
	}
	return string(data[2 : len(data)-1])
}

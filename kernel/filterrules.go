package kernel

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

const (
	// mostChains bounds how many chains are read below one base chain: a
	// cluster's ruleset may have one per pod and service.
	mostChains = 256
	// ctInvalid is a bit of connection tracking's states (nf_conntrack_common.h,
	// NF_CT_STATE_INVALID_BIT); in x_tables it is the same (xt_conntrack.h).
	ctInvalid = 1
)

// dropCounter goes through the rules that a packet at a base chain may meet.
type dropCounter struct {
	conn   *nftables.Conn
	table  *nftables.Table
	chains []string // of the table, each once
	rules  int
}

// countDrops counts the rules in a base chain, and in the chains that it leads
// to, by which packets may be dropped or rejected.
func countDrops(c *nftables.Conn, base *nftables.Chain) (int, error) {
	d := dropCounter{conn: c, table: base.Table, chains: []string{base.Name}}
	for i := 0; i < len(d.chains); i++ {
		if err := d.chain(d.chains[i]); err != nil {
			return 0, err
		}
	}
	return d.rules, nil
}

// follow has a chain looked at, if it is not yet.
func (d *dropCounter) follow(name string) {
	if len(d.chains) < mostChains && !slices.Contains(d.chains, name) {
		d.chains = append(d.chains, name)
	}
}

// chain counts the rules of one chain that drop.
func (d *dropCounter) chain(name string) error {
	rules, err := d.conn.GetRules(d.table, &nftables.Chain{Table: d.table, Name: name})
	for _, r := range rules {
		verdicts, one := d.verdicts(r.Exprs)
		err = errors.Join(err, one)
		drops := false
		for _, v := range verdicts {
			switch v.Kind {
			case expr.VerdictDrop:
				drops = true
			case expr.VerdictJump, expr.VerdictGoto:
				d.follow(v.Chain)
			}
		}
		if drops {
			d.rules++
		}
	}
	return err
}

// verdicts are those that a rule may give to a packet that is not invalid to
// connection tracking. To reject is to drop here.
func (d *dropCounter) verdicts(exprs []expr.Any) (out []expr.Verdict, err error) {
	var state ctStates
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Verdict:
			out = append(out, *e)
		case *expr.Reject:
			out = append(out, expr.Verdict{Kind: expr.VerdictDrop})
		case *expr.Target: // of iptables-nft, where it is no verdict of nftables
			if e.Name == "REJECT" {
				out = append(out, expr.Verdict{Kind: expr.VerdictDrop})
			}
		case *expr.Lookup:
			if !e.IsDestRegSet || e.DestRegister != unix.NFT_REG_VERDICT {
				continue
			}
			mapped, err := d.mapped(e, &state)
			if err != nil {
				return nil, err
			}
			out = append(out, mapped...)
		}
		if state.onlyInvalid(e) {
			return nil, nil
		}
	}
	return out, nil
}

// mapped are the verdicts of a verdict map.
func (d *dropCounter) mapped(e *expr.Lookup, state *ctStates) (out []expr.Verdict, err error) {
	elements, err := d.conn.GetSetElements(&nftables.Set{Table: d.table, Name: e.SetName})
	for _, el := range elements {
		if state.holds(e.SourceRegister) && len(el.Key) == 4 && rtnl.U32(el.Key) == ctInvalid {
			continue
		}
		if v, ok := decodeVerdict(el.Val); ok {
			out = append(out, v)
		}
	}
	return out, err
}

// decodeVerdict reads the value of a verdict map's element, which the library
// leaves as the kernel sent it (NFTA_DATA_VERDICT).
func decodeVerdict(val []byte) (v expr.Verdict, ok bool) {
	err := rtnl.Attrs(val, func(typ uint16, data []byte) {
		switch {
		case typ == unix.NFTA_VERDICT_CODE && len(data) == 4:
			v.Kind, ok = expr.VerdictKind(int32(binary.BigEndian.Uint32(data))), true
		case typ == unix.NFTA_VERDICT_CHAIN:
			v.Chain = rtnl.String(data)
		}
	})
	return v, ok && err == nil
}

// ctStates follows through a rule what it asks of connection tracking's state.
// The conditions of a rule must all be met, so one that only invalid packets
// meet decides.
type ctStates struct {
	loaded   bool
	register uint32
	mask     uint32 // of the states, those that are still in the register
}

func (s *ctStates) holds(register uint32) bool { return s.loaded && s.register == register }

// onlyInvalid takes in an expression, and reports whether it lets none but
// invalid packets pass.
func (s *ctStates) onlyInvalid(e expr.Any) bool {
	switch e := e.(type) {
	case *expr.Ct:
		*s = ctStates{loaded: e.Key == expr.CtKeySTATE, register: e.Register, mask: ^uint32(0)}
	case *expr.Bitwise:
		s.loaded = s.holds(e.SourceRegister) && len(e.Mask) == 4 && rtnl.U32(e.Xor) == 0
		s.register, s.mask = e.DestRegister, s.mask&rtnl.U32(e.Mask)
	case *expr.Cmp:
		if !s.holds(e.Register) || len(e.Data) != 4 {
			return false
		}
		value := rtnl.U32(e.Data)
		return e.Op == expr.CmpOpEq && value == ctInvalid || e.Op == expr.CmpOpNeq && value == 0 && s.mask == ctInvalid
	case *expr.Match:
		return matchesInvalid(e)
	default:
		s.loaded = false // something else may be in the register
	}
	return false
}

// matchesInvalid reports whether a match of iptables-nft is -m conntrack
// --ctstate INVALID, or -m state --state INVALID.
func matchesInvalid(e *expr.Match) bool {
	var flags, inverted, states uint16
	switch i := e.Info.(type) {
	case *xt.ConntrackMtinfo1:
		flags, inverted, states = i.MatchFlags, i.InvertFlags, uint16(i.StateMask)
	case *xt.ConntrackMtinfo2:
		flags, inverted, states = i.MatchFlags, i.InvertFlags, i.StateMask
	case *xt.ConntrackMtinfo3:
		flags, inverted, states = i.MatchFlags, i.InvertFlags, i.StateMask
	default:
		return false
	}
	const state = uint16(xt.ConntrackState)
	return flags&state != 0 && inverted&state == 0 && states == ctInvalid
}

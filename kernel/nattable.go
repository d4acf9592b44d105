package kernel

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// natState is the content of the nftables table, wanted or read:
//
//	chain postrouting {
//	    type nat hook postrouting priority srcnat; policy accept;
//	    ip saddr @sources4 ip daddr != @inside4 masquerade fully-random
//	    ip6 saddr @sources6 ip6 daddr != @inside6 masquerade fully-random
//	}
//
// with inside = sources and exceptions. Nothing in it depends on pods or peers.
type natState struct {
	table  *nftables.Table
	chains []*nftables.Chain
	sets   []natSet
	rules  []*nftables.Rule
}

type natSet struct {
	set      *nftables.Set
	elements []nftables.SetElement
}

// natFamily is what the rule of one family needs.
type natFamily struct {
	nfproto  byte
	name     string
	keyType  nftables.SetDatatype
	src, dst uint32 // offsets of the addresses in the IP header
}

var natFamilies = [...]natFamily{
	{unix.NFPROTO_IPV4, "4", nftables.TypeIPAddr, 12, 16},
	{unix.NFPROTO_IPV6, "6", nftables.TypeIP6Addr, 8, 24},
}

func newNATTable(m Masquerade) (natState, error) {
	t := natState{table: &nftables.Table{Family: nftables.TableFamilyINet, Name: natTable}}
	accept := nftables.ChainPolicyAccept
	chain := &nftables.Chain{
		Table: t.table, Name: "postrouting", Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource, Policy: &accept,
	}
	t.chains = []*nftables.Chain{chain}
	for _, f := range natFamilies {
		bits := int(f.keyType.Bytes) * 8
		sources, err := intervals(bits, m.Sources)
		if err != nil {
			return t, err
		}
		inside, err := intervals(bits, m.Sources, m.Except)
		if err != nil {
			return t, err
		}
		if len(sources) == 0 {
			continue
		}
		from, to := t.addSet("sources", f, sources), t.addSet("inside", f, inside)
		t.rules = append(t.rules, &nftables.Rule{Table: t.table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{f.nfproto}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: f.src, Len: f.keyType.Bytes},
			&expr.Lookup{SourceRegister: 1, SetName: from.Name, SetID: from.ID},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: f.dst, Len: f.keyType.Bytes},
			&expr.Lookup{SourceRegister: 1, SetName: to.Name, SetID: to.ID, Invert: true},
			&expr.Masq{FullyRandom: true},
		}})
	}
	return t, nil
}

func (t *natState) addSet(name string, f natFamily, ranges []interval) *nftables.Set {
	s := natSet{set: &nftables.Set{
		Table: t.table, ID: uint32(len(t.sets) + 1), Name: name + f.name, KeyType: f.keyType, Interval: true,
	}}
	// A set whose first range does not begin at zero begins with the end of
	// the gap before it, as nft(8) writes it.
	if !ranges[0].first.IsUnspecified() {
		zero := make([]byte, f.keyType.Bytes)
		s.elements = append(s.elements, nftables.SetElement{Key: zero, IntervalEnd: true})
	}
	for _, r := range ranges {
		s.elements = append(s.elements, nftables.SetElement{Key: r.first.AsSlice()})
		if end := r.last.Next(); end.IsValid() {
			s.elements = append(s.elements, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	t.sets = append(t.sets, s)
	return s.set
}

// add puts the table into c's transaction.
func (t *natState) add(c *nftables.Conn) error {
	c.AddTable(t.table)
	for _, s := range t.sets {
		if err := c.AddSet(s.set, s.elements); err != nil {
			return fmt.Errorf("set %s: %w", s.set.Name, err)
		}
	}
	for _, chain := range t.chains {
		c.AddChain(chain)
	}
	for _, r := range t.rules {
		c.AddRule(r)
	}
	return nil
}

// readNATTable gives the text of the table that is there, or nothing.
func readNATTable(c *nftables.Conn) (string, error) {
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(tables, func(t *nftables.Table) bool { return t.Name == natTable })
	if i < 0 {
		return "", nil
	}
	t := natState{table: tables[i]}
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return "", err
	}
	for _, chain := range chains {
		if chain.Table.Name != natTable {
			continue
		}
		t.chains = append(t.chains, chain)
		rules, err := c.GetRules(t.table, chain)
		if err != nil {
			return "", err
		}
		t.rules = append(t.rules, rules...)
	}
	sets, err := c.GetSets(t.table)
	if err != nil {
		return "", err
	}
	for _, set := range sets {
		elements, err := c.GetSetElements(set)
		if err != nil {
			return "", err
		}
		t.sets = append(t.sets, natSet{set, elements})
	}
	return t.text(), nil
}

// text says all that matters of a table, the same for one that was built and
// for one that was read from the kernel.
func (t *natState) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table flags %d\n", t.table.Flags)
	for _, c := range t.chains {
		fmt.Fprintf(&b, "chain %s type %s", c.Name, c.Type)
		if c.Hooknum != nil && c.Priority != nil {
			fmt.Fprintf(&b, " hook %d priority %d", *c.Hooknum, *c.Priority)
		}
		if c.Policy != nil {
			fmt.Fprintf(&b, " policy %d", *c.Policy)
		}
		b.WriteString("\n")
	}
	slices.SortFunc(t.sets, func(a, b natSet) int { return strings.Compare(a.set.Name, b.set.Name) })
	for _, s := range t.sets {
		fmt.Fprintf(&b, "set %s type %s interval %v timeout %v:", s.set.Name, s.set.KeyType.Name, s.set.Interval, s.set.HasTimeout)
		slices.SortFunc(s.elements, func(a, b nftables.SetElement) int {
			if c := bytes.Compare(a.Key, b.Key); c != 0 || a.IntervalEnd == b.IntervalEnd {
				return c
			}
			if a.IntervalEnd {
				return -1
			}
			return 1
		})
		for _, e := range s.elements {
			fmt.Fprintf(&b, " %s", elementText(e))
		}
		b.WriteString("\n")
	}
	for _, r := range t.rules {
		fmt.Fprintf(&b, "rule in %s:", r.Chain.Name)
		for _, e := range r.Exprs {
			fmt.Fprintf(&b, " %s", exprText(e))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func elementText(e nftables.SetElement) string {
	text := hex.EncodeToString(e.Key)
	if a, ok := netip.AddrFromSlice(e.Key); ok {
		text = a.String()
	}
	if e.IntervalEnd {
		text = "end:" + text
	}
	return text
}

func exprText(e expr.Any) string {
	if l, ok := e.(*expr.Lookup); ok {
		named := *l
		named.SetID = 0 // a number within one transaction
		e = &named
	}
	return strings.TrimPrefix(fmt.Sprintf("%T%+v", e, e), "*expr.")
}

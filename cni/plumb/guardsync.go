package plumb

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// Wanted is what is known of the pods of this host.
type Wanted struct {
	Guards    []Guard
	Unguarded []string // host interfaces of pods that shall have no guard
}

// Repair is what SyncGuards had to do.
type Repair struct {
	Rebuilt bool // the table, its chain, or its rules were not as they should be
	Added   int  // guards that were missing or not whole
	Removed int  // guards of ports that are gone or shall have none
}

// perTransaction bounds the guards of one transaction, which must fit a
// socket's send buffer: each takes up to 900 bytes.
const perTransaction = 100

// SyncGuards makes the guards those that want returns, after somebody flushed
// the tables or a plugin was killed. want is called after the guards were read,
// so that one that comes meanwhile is not taken for stale; the guard of a port
// that is there and of which want knows nothing stays.
func SyncGuards(want func() (Wanted, error)) (Repair, error) {
	c, err := rtnl.DialNetfilter()
	if err != nil {
		return Repair{}, guardError(err)
	}
	defer c.Close()
	have, err := dumpGuards(c)
	if err != nil {
		return Repair{}, err
	}
	whole, err := intact(c)
	if err != nil {
		return Repair{}, err
	}
	w, err := want()
	if err != nil {
		return Repair{}, err
	}
	host, err := ReadHost()
	if err != nil {
		return Repair{}, err
	}
	changes, r := w.plan(have, host.Links)
	// Without pods there need be no table, and a kernel that cannot have one is
	// nobody's concern.
	if !whole && len(w.Guards) > 0 {
		r.Rebuilt = true
		changes = append([]change{{build: true}}, changes...)
	}
	for _, ch := range changes {
		if err := ch.apply(c); err != nil {
			return r, err
		}
	}
	return r, nil
}

// plan compares the guards wanted with the elements that there are.
func (w Wanted) plan(have map[element]string, links map[string]bool) (out []change, r Repair) {
	stale := map[string][]element{} // by port
	known := map[string]bool{}
	for _, name := range w.Unguarded {
		known[name] = true
	}
	for _, g := range w.Guards {
		known[g.Port] = true
	}
	for e := range have {
		if p := e.port(); known[p] || !links[p] {
			stale[p] = append(stale[p], e)
		}
	}
	next := change{}
	flush := func() {
		if len(next.add)+len(next.remove) > 0 {
			out = append(out, next)
		}
		next = change{}
	}
	for _, g := range w.Guards {
		want := g.elements()
		if matches(want, g.text(), have) && len(stale[g.Port]) == len(want) {
			delete(stale, g.Port)
			continue
		}
		// Removed and put there again in one step, also what is right: the text
		// of an element cannot be changed.
		r.Added++
		next.add, next.remove = append(next.add, g), append(next.remove, stale[g.Port]...)
		delete(stale, g.Port)
		if len(next.add) >= perTransaction {
			flush()
		}
	}
	flush()
	for _, elements := range stale {
		r.Removed++
		next.remove = append(next.remove, elements...)
		if len(next.remove) >= perTransaction {
			flush()
		}
	}
	flush()
	return out, r
}

// matches reports whether all elements of a guard are there with its text.
func matches(want []element, text string, have map[element]string) bool {
	for _, e := range want {
		got, ok := have[e]
		if !ok || e.set == setPorts && got != text {
			return false
		}
	}
	return true
}

// intact reports whether the table has the chain at its hook and the rules, in
// order, told by their comments.
func intact(c *rtnl.Conn) (bool, error) {
	hooked, err := hookedChain(c)
	if err != nil || !hooked {
		return false, err
	}
	var texts []string
	var b rtnl.Batch
	err = retryDump(func() error {
		texts = nil
		b.Reset()
		nft(&b, unix.NFT_MSG_GETRULE, 0)
		b.String(unix.NFTA_RULE_TABLE, GuardTable)
		b.String(unix.NFTA_RULE_CHAIN, guardChain)
		return c.Dump(&b, func(m rtnl.Message) error {
			text := ""
			err := rtnl.Attrs(m.Payload(), func(typ uint16, v []byte) {
				if typ == unix.NFTA_RULE_USERDATA {
					text = parseRemark(v)
				}
			})
			texts = append(texts, text)
			return err
		})
	})
	if err != nil && !missingFamily(err) {
		return false, guardError(err)
	}
	same := slices.EqualFunc(texts, guardRules(), func(text string, r rule) bool { return text == r.text })
	return same, nil
}

// hookedChain reports whether the chain is there and is called for packets.
func hookedChain(c *rtnl.Conn) (hooked bool, err error) {
	var b rtnl.Batch
	nft(&b, unix.NFT_MSG_GETCHAIN, 0)
	b.String(unix.NFTA_CHAIN_TABLE, GuardTable)
	b.String(unix.NFTA_CHAIN_NAME, guardChain)
	err = c.Request(&b, func(m rtnl.Message) error {
		return rtnl.Attrs(m.Payload(), func(typ uint16, _ []byte) {
			hooked = hooked || typ == unix.NFTA_CHAIN_HOOK
		})
	})
	if missingFamily(err) {
		return false, nil
	}
	return hooked, guardError(err)
}

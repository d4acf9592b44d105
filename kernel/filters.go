package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
)

// filterTries bounds how often rules are read that somebody replaces between one
// question and the next.
const filterTries = 3

// Filter is an nftables base chain, not weft's, that may keep packets of pods or
// of a tunnel from this host.
type Filter struct {
	Chain string // family, table and chain, in the words of nft(8)
	Hook  string // forward or input
	// ByDefault is true where its policy drops what no rule accepts.
	ByDefault bool
	// Rules are those that drop or reject something at the hook forward, in the
	// chain and in those that it leads to. Which packets they fit is not known.
	Rules int
}

// ForwardFilters lists the base chains at the hook forward that drop by default
// or by a rule, and those at the hook input that drop by default. A rule counts
// that drops or rejects, alone or by a verdict map, but not one that is for
// packets that connection tracking calls invalid: every other firewall has that
// one. What the kernel keeps for the old iptables (x_tables) is not seen, nor
// what the family netdev drops. Nothing is written; a kernel without nftables
// has none.
func ForwardFilters() ([]Filter, error) {
	c, err := dialNAT()
	if err != nil {
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	var filters []Filter
	for range filterTries {
		if filters, err = forwardFilters(c); err == nil {
			break
		}
	}
	err = errors.Join(err, c.CloseLasting())
	if err != nil && !lacksNAT(err) {
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	return filters, nil
}

func forwardFilters(c *nftables.Conn) (out []Filter, err error) {
	chains, err := c.ListChains()
	if err != nil {
		return nil, err
	}
	for _, chain := range chains {
		f := Filter{Chain: chainWords(chain), Hook: hookWord(chain)}
		if f.Hook == "" || strings.HasPrefix(chain.Table.Name, Prefix) {
			continue
		}
		f.ByDefault = chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop
		// Frames that a bridge passes on are no pods' packets to other hosts.
		if f.Hook == "forward" && chain.Table.Family != nftables.TableFamilyBridge {
			if f.Rules, err = countDrops(c, chain); err != nil {
				return nil, fmt.Errorf("rules of %s: %w", f.Chain, err)
			}
		}
		if f.ByDefault || f.Rules > 0 {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b Filter) int { return cmp.Compare(a.Chain, b.Chain) })
	return out, nil
}

// hookWord names the hook of a chain if it is one of the two that are looked at.
func hookWord(c *nftables.Chain) string {
	if c.Hooknum == nil {
		return ""
	}
	switch c.Table.Family {
	case nftables.TableFamilyINet, nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyBridge:
	default:
		return "" // the hooks have other numbers there
	}
	switch *c.Hooknum {
	case *nftables.ChainHookForward:
		return "forward"
	case *nftables.ChainHookInput:
		return "input"
	}
	return ""
}

func chainWords(c *nftables.Chain) string {
	family := "inet"
	switch c.Table.Family {
	case nftables.TableFamilyIPv4:
		family = "ip"
	case nftables.TableFamilyIPv6:
		family = "ip6"
	case nftables.TableFamilyBridge:
		family = "bridge"
	}
	return family + " " + c.Table.Name + " " + c.Name
}

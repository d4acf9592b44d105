package kernel

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
)

// ForwardFilters names the nftables base chains, in the words of nft(8), that
// may keep pods' packets or a tunnel's from this host: those not weft's, at the
// hooks forward and input, that drop what no rule accepts. What their rules say
// is not looked at, nor are chains that accept by default or that the kernel
// keeps for the old iptables. Nothing is written; a kernel without nftables has
// none.
func ForwardFilters() ([]string, error) {
	c, err := dialNAT()
	if err != nil {
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	chains, err := c.ListChains()
	err = errors.Join(err, c.CloseLasting())
	if err != nil && !lacksNAT(err) {
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	var names []string
	for _, chain := range chains {
		if hook := dropsAt(chain); hook != "" {
			names = append(names, fmt.Sprintf("%s %s %s (hook %s)", familyWord(chain.Table.Family), chain.Table.Name, chain.Name, hook))
		}
	}
	slices.Sort(names)
	return names, nil
}

// dropsAt is the hook at which a chain drops what it does not accept, empty
// where it does not.
func dropsAt(c *nftables.Chain) string {
	if c.Hooknum == nil || c.Policy == nil || *c.Policy != nftables.ChainPolicyDrop || strings.HasPrefix(c.Table.Name, Prefix) {
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

func familyWord(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	case nftables.TableFamilyBridge:
		return "bridge"
	}
	return "inet"
}

package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/backends/vxlan"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// mostNamed bounds how many chains a check names.
const mostNamed = 4

// checkFilters names packet filters of others that may drop pods' packets. It is
// the only look at them: probes end at hosts' own addresses, so none ever passes
// the hook forward. Which packets a rule fits is not known, so this only warns.
func (t *Task) checkFilters(st state) fabric.Check {
	const name = "firewall"
	filters, err := t.opt.Filters()
	if err != nil {
		return warning(name, "packet filters cannot be listed: %v", err)
	}
	var forward, input []string
	for _, f := range filters {
		if f.Hook == "forward" {
			forward = append(forward, "chain "+f.Chain+" "+dropWords(f))
		} else {
			input = append(input, "chain "+f.Chain+" "+dropWords(f))
		}
	}
	var words []string
	if len(forward) > 0 {
		words = append(words, fmt.Sprintf("%s; probes do not pass it: see that pods' packets may go between %s",
			someOf(forward), between(st)))
	}
	if len(input) > 0 {
		words = append(words, fmt.Sprintf("%s: see that it accepts %s", someOf(input), arrivals(st)))
	}
	if len(words) == 0 {
		return ok(name, "no packet filter of others drops by default or drops forwarded packets")
	}
	return warning(name, "%s", strings.Join(words, "; "))
}

func dropWords(f kernel.Filter) string {
	some := "drops some forwarded packets (1 rule)"
	if f.Rules != 1 {
		some = fmt.Sprintf("drops some forwarded packets (%d rules)", f.Rules)
	}
	switch {
	case !f.ByDefault:
		return some
	case f.Rules == 0:
		return "drops what no rule of it accepts"
	}
	return "drops what no rule of it accepts, and " + some
}

func someOf(words []string) string {
	if more := len(words) - mostNamed; more > 0 {
		words = append(words[:mostNamed:mostNamed], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, ", ")
}

// between names the devices that pods' packets pass on the new plan's ways.
func between(st state) string {
	to, rules := st.m.To, st.snap.Spec.PathRules
	var devices []string
	if to.Routes(rules) || to.Uses(rules, fabric.PathDirect) {
		devices = slices.Clone(st.in.Uplinks)
		if st.in.Underlay.Interface != "" && !slices.Contains(devices, st.in.Underlay.Interface) {
			devices = append([]string{st.in.Underlay.Interface}, devices...)
		}
		if len(devices) == 0 {
			devices = []string{"the uplinks"}
		}
	}
	if to.Uses(rules, fabric.PathVXLAN) {
		devices = append(devices, vxlan.DeviceName(to.VXLAN))
	}
	return backends.BridgeName + " and " + strings.Join(devices, ", ")
}

// arrivals names what must arrive at the host itself.
func arrivals(st state) string {
	words := fmt.Sprintf("probes (UDP port %d, ICMP echo)", cmp.Or(st.snap.Spec.Probe.Port, fabric.ProbePort))
	if st.m.To.Uses(st.snap.Spec.PathRules, fabric.PathVXLAN) {
		words = fmt.Sprintf("the overlay (UDP port %d) and ", st.m.To.VXLAN.Port) + words
	}
	return words
}

package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/weft-net/weft/ipam"
)

// addressText is what is known of an address, in words.
func addressText(r *addressRow, now time.Time, wide bool) string {
	var out strings.Builder
	say := sayer(&out, wide)
	say("address", r.Address.String())
	say("state", r.stateWords(now))
	if r.Attachment != nil {
		r.Attachment.say(say, r.State == addressInUse)
	}
	if r.Subnet.IsValid() && r.State != addressExcluded {
		say("subnet", r.subnetWords())
	}
	return out.String()
}

func (r *addressRow) stateWords(now time.Time) string {
	age := now.Sub(r.Since)
	switch r.State {
	case addressInUse:
		return "in use for " + span(age)
	case addressQuarantined:
		return fmt.Sprintf("free; freed %s ago, given to another pod in %s or if no other is free", span(age), span(ipam.Quarantine-age))
	case addressFreed:
		return fmt.Sprintf("free; freed %s ago", span(age))
	case addressUnused:
		return "free; no pod has had it since this host booted"
	case addressGateway:
		return fmt.Sprintf("the gateway of the pods on %s", r.whose())
	case addressReserved:
		if r.Address == r.Subnet.Addr() {
			return "the subnet's own address; no pod gets it"
		}
		return "the subnet's broadcast address; no pod gets it"
	case addressRemote:
		return fmt.Sprintf("of a pod on %s, or free; `weft ip show %s` there knows", r.Node, r.Address)
	case addressSetAside:
		return fmt.Sprintf("nobody's yet: its subnet is reserved for %s", r.Node)
	case addressExcluded:
		return fmt.Sprintf("nobody's: in %s, which the fabric never leases (spec.reserved)", r.Subnet)
	case addressUnleased:
		return "nobody's: in no subnet that a node has"
	case addressUnderlay:
		return fmt.Sprintf("the underlay address of %s", r.Node)
	case addressOutside:
		return fmt.Sprintf("outside the fabric, whose network is %s", list(r.Networks))
	}
	return "not in a subnet of this node; whose it is only etcd knows"
}

func (r *addressRow) whose() string {
	if r.Here {
		return "this host"
	}
	return r.Node
}

func (r *addressRow) subnetWords() string {
	text := r.Subnet.String()
	switch {
	case r.Here:
		text += " of this node, " + r.Node
	case r.State == addressSetAside:
	case r.Node != "":
		text += " of " + r.Node
		if r.AgentAlive != nil {
			text += ", whose agent is " + aliveWord(*r.AgentAlive)
		}
	}
	if r.GivenUp {
		text += "; it was this node's"
	}
	if r.Draining {
		text += "; draining, new pods get no address of it"
	}
	return text
}

// say describes whose an address is, or was.
func (r *podRow) say(say func(what string, texts ...string), is bool) {
	container := fmt.Sprintf("%s, interface %s", r.Container, r.Interface)
	if !is {
		was := "container " + container
		if name := r.name(); name != "" {
			was = "pod " + name + ", " + was
		}
		say("was of", was)
		return
	}
	say("pod", orDash(r.name()))
	say("container", container)
	host := r.HostInterface
	if r.MAC != nil {
		host += fmt.Sprintf(", mac %s, mtu %d", r.MAC, r.MTU)
	}
	say("host", host)
	if r.Network != "" {
		say("network", r.Network)
	}
	if len(r.Labels) > 0 {
		say("labels", labels(r.Labels))
	}
	if r.Unrecorded {
		say("record", "none that can be read")
	}
}

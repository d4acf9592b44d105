package lab

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
)

// Filter is a firewall that drops some packets without a word, and counts them.
type Filter struct {
	space *Namespace
	table string
}

// Drop makes a firewall that drops, at the hooks given by name ("input",
// "forward", "output"), every packet that one of the matches fits, in nft's
// words: "udp dport 4789", "ip daddr 10.244.0.0/16".
func (n *Namespace) Drop(ctx context.Context, hooks []string, matches ...string) (*Filter, error) {
	f := &Filter{space: n, table: "lab" + strings.ToLower(rand.Text())[:8]}
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n counter dropped {}\n", f.table)
	for _, hook := range hooks {
		fmt.Fprintf(&b, " chain %s {\n  type filter hook %s priority -300;\n", hook, hook) // before connections are tracked
		for _, m := range matches {
			fmt.Fprintf(&b, "  %s counter name dropped drop\n", m)
		}
		b.WriteString(" }\n")
	}
	b.WriteString("}\n")
	if _, err := n.RunInput(ctx, []byte(b.String()), "nft", "-f", "-"); err != nil {
		return nil, err
	}
	return f, nil
}

// Dropped is the number of packets dropped so far.
func (f *Filter) Dropped(ctx context.Context) (int, error) {
	out, err := f.space.Run(ctx, "nft", "-j", "list", "counter", "inet", f.table, "dropped")
	if err != nil {
		return 0, err
	}
	var list struct {
		NFTables []struct{ Counter *struct{ Packets int } }
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return 0, fmt.Errorf("counter of %s: %w", f.space.Name, err)
	}
	for _, o := range list.NFTables {
		if o.Counter != nil {
			return o.Counter.Packets, nil
		}
	}
	return 0, fmt.Errorf("counter of %s: there is none in %s", f.space.Name, out)
}

// Remove takes the firewall away.
func (f *Filter) Remove(ctx context.Context) error {
	_, err := f.space.Run(ctx, "nft", "delete", "table", "inet", f.table)
	return err
}

// tooBig are the messages of routers that tell senders of a smaller MTU: RFC 792
// with RFC 1191, and RFC 4443, 3.2.
var tooBig = []string{"icmp type destination-unreachable icmp code frag-needed", "icmpv6 type packet-too-big"}

// SwallowTooBig makes the switch neither send nor pass on the message that a
// packet was too big.
func (s *Switch) SwallowTooBig(ctx context.Context) (*Filter, error) {
	return s.Drop(ctx, []string{"output", "forward"}, tooBig...)
}

// SwallowBig makes the switch drop what it routes and is larger than that, in
// bytes with the IP header, without a word.
func (s *Switch) SwallowBig(ctx context.Context, size int) (*Filter, error) {
	if err := s.lab.wholeFrames(); err != nil {
		return nil, err
	}
	return s.Drop(ctx, []string{"forward"}, fmt.Sprintf("meta length > %d", size))
}

// wholeFrames makes the hosts' uplinks carry frames as they would be on a wire.
// Otherwise the kernel leaves it to the last device of all, in the receiver, to
// cut a large TCP segment, and switches see packets that no link could carry.
func (l *Lab) wholeFrames() error {
	var errs []error
	for _, h := range l.Hosts {
		errs = append(errs, h.eachToR(func(tor *Switch) error {
			return h.change(uplinkName(tor.place), "without large segments", func(link netlink.Link) error {
				return h.links.LinkSetGSOMaxSegs(link, 1)
			})
		}))
	}
	return errors.Join(errs...)
}

// SetLinkMTU changes the MTU of a ToR's links to the spines, both ends, in
// bytes: whoever routes a packet onto them that does not fit says so.
func (s *Switch) SetLinkMTU(mtu int) error {
	var errs []error
	for _, spine := range s.lab.spines {
		errs = append(errs, s.setMTU(spine.Spec.Name, mtu), spine.setMTU(s.Spec.Name, mtu))
	}
	return errors.Join(errs...)
}

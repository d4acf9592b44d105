package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/backends/bgp/switchconf"
	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

const torConfigHelp = `Print the switch's side of every session that it should have with nodes.

The switch is described by its AS and its addresses towards the nodes, each
with the length of its segment's prefix. Sessions are computed from the Fabric,
the BGPPeer objects and the nodes, all read from etcd; with -f FILE from a file
of objects, before there are any nodes (then with --listen).

Where a session has a password there is a placeholder. What must be known
besides is said in comments and on standard error.`

// torFlags are the flags of tor-config.
type torFlags struct {
	kind, name, routerID, file string
	asn                        uint32
	addrs, ports, nodes        []string
	listen, def                bool
}

func (a *app) torConfigCommand() *cobra.Command {
	var f torFlags
	cmd := &cobra.Command{
		Use: "tor-config", Short: "Print a switch's side of the sessions", Args: args(), Long: torConfigHelp,
		Example: "  weft bgp tor-config --for frr --asn 65101 --address 198.18.1.1/24\n" +
			"  weft bgp tor-config --for eos --asn 65101 --router-id 198.18.255.1 --port Ethernet1=host1",
	}
	flags := cmd.Flags()
	flags.StringVar(&f.kind, "for", "", "kind of switch: "+strings.Join(switchconf.Kinds(), ", "))
	flags.Uint32Var(&f.asn, "asn", 0, "AS number of the switch")
	flags.StringSliceVar(&f.addrs, "address", nil, "address of the switch on a segment with nodes, with the prefix length")
	flags.StringSliceVar(&f.ports, "port", nil, "PORT or PORT=NODE with a session over link-local addresses")
	flags.StringArrayVar(&f.nodes, "node", nil, "NAME=ADDRESS: a node's address towards this switch, where its record has another; with -f NAME=ADDRESS[,LABEL=VALUE...], a node that will be")
	flags.StringVar(&f.name, "name", "tor", "name of the switch")
	flags.StringVar(&f.routerID, "router-id", "", "router id of the switch (default: its first IPv4 address)")
	flags.BoolVar(&f.listen, "listen", false, "take sessions from whole segments in place of one neighbour per node")
	flags.BoolVar(&f.def, "default-route", false, "pass the switch's own default route on to the nodes")
	flags.StringVarP(&f.file, "filename", "f", "", "file with objects in place of etcd's, - for standard input")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		place, err := f.place(cmd.CommandPath())
		if err != nil {
			return err
		}
		known, err := a.known(cmd.Context(), f)
		if err != nil {
			return err
		}
		if err := f.addNodes(&known); err != nil {
			return err
		}
		return a.torConfig(f.kind, known, place)
	}
	return cmd
}

func (a *app) torConfig(kind string, f switchconf.Fabric, p switchconf.Place) error {
	sw, err := switchconf.For(f, p)
	if err != nil {
		return usagef("%w", err)
	}
	for _, n := range sw.Notes {
		fmt.Fprintln(a.Err, "note:", n)
	}
	if len(sw.Groups) == 0 {
		return &failure{code: exitFailed, err: errors.New("this switch has no session with any node"), hint: "`weft get bgppeers` lists who peers with whom"}
	}
	text, err := switchconf.Render(kind, sw)
	if err != nil {
		return err
	}
	a.printf("%s", text)
	return nil
}

// place is the switch that the flags describe.
func (f torFlags) place(command string) (switchconf.Place, error) {
	p := switchconf.Place{Name: f.name, ASN: f.asn, Listen: f.listen, Default: f.def}
	switch {
	case f.kind == "":
		return p, usagef("%s needs --for KIND (%s)", command, strings.Join(switchconf.Kinds(), ", "))
	case !slices.Contains(switchconf.Kinds(), f.kind):
		return p, usagef("--for: %q is no kind of switch, want one of %s", f.kind, strings.Join(switchconf.Kinds(), ", "))
	case f.asn == 0:
		return p, usagef("%s needs --asn NUMBER, the switch's AS", command)
	case len(f.addrs) == 0 && len(f.ports) == 0:
		return p, usagef("%s needs --address ADDRESS/LENGTH or --port PORT, where the nodes are", command)
	case strings.ContainsAny(f.name, " \t\r\n"):
		return p, usagef("--name: %q is not one word", f.name)
	}
	for _, text := range f.addrs {
		addr, err := netip.ParsePrefix(text)
		if err != nil {
			return p, usagef("--address: %q is not an address with a prefix length (like 198.18.1.1/24)", text)
		}
		p.Addrs = append(p.Addrs, addr)
	}
	for _, text := range f.ports {
		name, node, _ := strings.Cut(text, "=")
		if name == "" || strings.ContainsAny(name, " \t\r\n\"") {
			return p, usagef("--port: %q is not PORT or PORT=NODE", text)
		}
		p.Ports = append(p.Ports, switchconf.Port{Name: name, Node: node})
	}
	if f.routerID != "" {
		var err error
		if p.RouterID, err = netip.ParseAddr(f.routerID); err != nil {
			return p, usagef("--router-id: %q is not an address in IPv4 form", f.routerID)
		}
	}
	return p, nil
}

// addNodes gives nodes the addresses that their records do not have. Where the
// objects are from a file there are no records: the nodes are those given.
func (f torFlags) addNodes(known *switchconf.Fabric) error {
	for _, text := range f.nodes {
		n, err := parseNode(text)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(known.Nodes, func(k switchconf.Node) bool { return k.Name == n.Name })
		switch {
		case i >= 0:
			known.Nodes[i].Addrs = append(known.Nodes[i].Addrs, n.Addrs...)
		case f.file != "":
			n.Underlay.Set(fabric.FamilyOf(n.Addrs[0]), n.Addrs[0])
			known.Nodes = append(known.Nodes, n)
		default:
			return &failure{code: exitFailed, err: fmt.Errorf("there is no node %s", n.Name), hint: "`weft nodes` lists them"}
		}
	}
	return nil
}

// parseNode reads NAME=ADDRESS[,LABEL=VALUE...].
func parseNode(text string) (switchconf.Node, error) {
	bad := usagef("--node: %q is not NAME=ADDRESS[,LABEL=VALUE...]", text)
	parts := strings.Split(text, ",")
	name, addr, _ := strings.Cut(parts[0], "=")
	parsed, err := netip.ParseAddr(addr)
	if name == "" || err != nil {
		return switchconf.Node{}, bad
	}
	n := switchconf.Node{Node: fabric.Node{Name: name, Labels: map[string]string{}}, Addrs: []netip.Addr{parsed}}
	for _, label := range parts[1:] {
		k, v, ok := strings.Cut(label, "=")
		if !ok || k == "" {
			return switchconf.Node{}, bad
		}
		n.Labels[k] = v
	}
	return n, nil
}

// known is what etcd, or a file in its place, knows of the fabric.
func (a *app) known(ctx context.Context, f torFlags) (switchconf.Fabric, error) {
	if f.file != "" {
		objects, err := a.readObjects(f.file)
		if err != nil {
			return switchconf.Fabric{}, err
		}
		return switchconf.Fabric{Spec: config.SpecOf(objects), BGP: config.BGPOf(objects)}, nil
	}
	var out switchconf.Fabric
	err := a.withStore(ctx, func(ctx context.Context, s *store.Store) error {
		snap, err := s.View(ctx)
		if err != nil {
			return unreachable(err)
		}
		out = switchconf.Fabric{Spec: snap.Spec, BGP: snap.BGP}
		for _, p := range snap.Peers {
			out.Nodes = append(out.Nodes, switchconf.Node{Node: p.Node})
		}
		a.notes(snap, false, "")
		if snap.Spec == nil {
			return &failure{code: exitFailed, err: errors.New("there is no Fabric yet"), hint: "-f FILE takes objects from a file"}
		}
		return nil
	})
	return out, err
}

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/backends/bgp/switchconf"
	"github.com/weft-net/weft/fabric"
)

// RouterCommand is the hidden subcommand of weft-lab that is a router.
const RouterCommand = "internal-router"

// router is the router that weft-lab has in it.
type router struct {
	sw   *Switch
	proc *Process
}

func newRouter(s *Switch) *router {
	return &router{sw: s, proc: s.lab.process("router-" + s.Spec.Name)}
}

func (d *router) processes() []*Process { return []*Process{d.proc} }

func (d *router) file() string { return filepath.Join(d.sw.dir(), "router.json") }

func (d *router) configure(c switchConfig) error {
	data, err := json.MarshalIndent(routerDesired(c), "", "  ")
	if err != nil {
		return fmt.Errorf("router configuration: %w", err)
	}
	return writeFiles(d.sw.dir(), map[string]string{"router.json": string(data)})
}

func (d *router) start(ctx context.Context) error {
	if d.proc.Alive() {
		return nil
	}
	if err := d.proc.Start(d.sw.Namespace, exec.Command(d.sw.lab.bin.Lab, RouterCommand, d.file())); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), fabric.BGPPort)
	return d.proc.explain(await(ctx, d.proc.Name+" to listen", func() error {
		if !d.proc.Alive() {
			return errNotRunning
		}
		conn, err := d.sw.Dial(ctx, "tcp", at.String())
		if err == nil {
			conn.Close()
		}
		return err
	}))
}

func (d *router) command(context.Context, string) (string, error) {
	return "", errors.New("the built-in router has no command line")
}

// How the built-in router treats other switches.
const (
	linkHold      = 9 * time.Second
	linkKeepalive = 3 * time.Second
	linkRetry     = 2 * time.Second
	routerWays    = 16
)

// all accepts everything.
func all() []bgp.Rule { return []bgp.Rule{{Name: "all", Action: bgp.Accept}} }

// routerDesired is the configuration of the built-in router.
func routerDesired(c switchConfig) bgp.Desired {
	d := bgp.Desired{Global: bgp.Global{
		ASN: c.ASN, RouterID: c.RouterID, Port: fabric.BGPPort, Multipath: routerWays,
		RestartTime: time.Duration(fabric.BGPRestartTime), Transit: true,
	}}
	for _, n := range c.Links {
		s := bgp.Session{
			Key:     "links/" + n.Address.String(),
			Opening: bgp.Opening{Address: n.Address, RemoteASN: n.ASN, Port: fabric.BGPPort},
			Hold:    linkHold, Keepalive: linkKeepalive, ConnectRetry: linkRetry,
			MaxPrefixes: fabric.BGPMaxPrefixes, Import: all(), Export: all(), Description: n.Name,
		}
		s.Families.Set(fabric.FamilyOf(n.Address), true)
		d.Sessions = append(d.Sessions, s)
	}
	if len(c.Links) > 0 {
		for _, p := range c.Segments {
			d.Announcements = append(d.Announcements, bgp.Announcement{Prefix: p, Why: "segment"})
		}
	}
	for _, g := range c.Nodes.Groups {
		for _, n := range g.Neighbors {
			s := nodeSession(c, g)
			s.Key, s.Address, s.RemoteASN = g.Name+"/"+n.Address.String(), n.Address, n.ASN
			d.Sessions = append(d.Sessions, s)
		}
		for _, r := range g.Ranges {
			s := nodeSession(c, g)
			s.Key = g.Name + "/" + r.Prefix.String()
			d.Ranges = append(d.Ranges, bgp.Range{Prefix: r.Prefix, Template: s})
		}
	}
	slices.SortFunc(d.Sessions, func(a, b bgp.Session) int { return strings.Compare(a.Key, b.Key) })
	slices.SortFunc(d.Ranges, func(a, b bgp.Range) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
	slices.SortFunc(d.Announcements, func(a, b bgp.Announcement) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
	return d
}

// nodeSession is what the sessions with a group of nodes have in common.
func nodeSession(c switchConfig, g switchconf.Group) bgp.Session {
	s := bgp.Session{
		Opening: bgp.Opening{Port: g.Port, Multihop: g.Multihop, GTSM: g.GTSM, Families: g.Families},
		Hold:    g.Hold, Keepalive: g.Keepalive, ConnectRetry: g.ConnectRetry,
		MaxPrefixes: uint32(g.MaxPrefixes), Description: g.Description,
	}
	if g.Internal {
		s.RemoteASN, s.ReflectorClient, s.ClusterID = c.ASN, true, c.RouterID
	}
	var from, to []bgp.PrefixRange
	for _, f := range fabric.Families {
		from = append(from, ranges(c.Nodes.FromNodes.Get(f))...)
		to = append(to, ranges(c.Nodes.ToNodes.Get(f))...)
	}
	zero := uint32(0)
	s.Import = []bgp.Rule{
		{Name: "leaving", Match: bgp.Match{Communities: []bgp.Community{bgp.GracefulShutdown}}, Set: bgp.Set{Attributes: bgp.Attributes{LocalPreference: &zero}}, Action: bgp.Next},
		{Name: "from-nodes", Match: bgp.Match{Prefixes: from}, Action: bgp.Accept},
	}
	s.Export = []bgp.Rule{{Name: "to-nodes", Match: bgp.Match{Prefixes: to}, Action: bgp.Accept}}
	return s
}

func ranges(in []switchconf.Range) []bgp.PrefixRange {
	var out []bgp.PrefixRange
	for _, r := range in {
		out = append(out, bgp.PrefixRange{Prefix: r.Prefix, Min: r.Min, Max: r.Max})
	}
	return out
}

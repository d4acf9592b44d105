package speaker

import (
	"net/netip"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

// families are GoBGP's names of ours.
func familyOf(f fabric.Family) packet.Family {
	if f == fabric.IPv4 {
		return packet.RF_IPv4_UC
	}
	return packet.RF_IPv6_UC
}

// ourFamily is the reverse of familyOf; false for what weft does not carry.
func ourFamily(f packet.Family) (fabric.Family, bool) {
	switch f {
	case packet.RF_IPv4_UC:
		return fabric.IPv4, true
	case packet.RF_IPv6_UC:
		return fabric.IPv6, true
	}
	return 0, false
}

// announcementPath is one of our own routes. The next hop is left open: GoBGP
// puts in the address of each session. Prepending is left to the export policy,
// as our own AS in the path would make internal peers refuse it.
func announcementPath(a bgp.Announcement) (*apiutil.Path, error) {
	prefix := a.Prefix.Masked()
	family := familyOf(fabric.FamilyOf(prefix.Addr()))
	nlri, err := packet.NewIPAddrPrefix(prefix)
	if err != nil {
		return nil, err
	}
	attrs := []packet.PathAttributeInterface{packet.NewPathAttributeOrigin(packet.BGP_ORIGIN_ATTR_TYPE_IGP)}
	if family == packet.RF_IPv4_UC {
		hop, err := packet.NewPathAttributeNextHop(netip.IPv4Unspecified())
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, hop)
	} else {
		reach, err := packet.NewPathAttributeMpReachNLRI(family, []packet.PathNLRI{{NLRI: nlri}}, netip.IPv6Unspecified())
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, reach)
	}
	if len(a.Communities) > 0 {
		list := make([]uint32, len(a.Communities))
		for i, c := range a.Communities {
			list[i] = uint32(c)
		}
		attrs = append(attrs, packet.NewPathAttributeCommunities(list))
	}
	if len(a.LargeCommunities) > 0 {
		list := make([]*packet.LargeCommunity, len(a.LargeCommunities))
		for i, c := range a.LargeCommunities {
			list[i] = &packet.LargeCommunity{ASN: c.Global, LocalData1: c.Local1, LocalData2: c.Local2}
		}
		attrs = append(attrs, packet.NewPathAttributeLargeCommunities(list))
	}
	if a.MED != nil {
		attrs = append(attrs, packet.NewPathAttributeMultiExitDisc(*a.MED))
	}
	if a.LocalPreference != nil {
		attrs = append(attrs, packet.NewPathAttributeLocalPref(*a.LocalPreference))
	}
	return &apiutil.Path{Family: family, Nlri: nlri, Attrs: attrs, Age: time.Now().Unix()}, nil
}

// toPath is a route of GoBGP's in our words.
func toPath(p *apiutil.Path) (bgp.Path, bool) {
	prefix, ok := prefixOf(p)
	if !ok {
		return bgp.Path{}, false
	}
	out := bgp.Path{
		Prefix: prefix, NextHop: nextHopOf(p), From: p.PeerAddress, Best: p.Best,
		Stale: p.Stale || hasCommunity(p, llgrStale), Age: time.Since(time.Unix(p.Age, 0)),
	}
	for _, a := range p.Attrs {
		switch a := a.(type) {
		case *packet.PathAttributeAsPath:
			out.ASPath = asPath(a)
		case *packet.PathAttributeCommunities:
			for _, c := range a.Value {
				out.Communities = append(out.Communities, bgp.Community(c))
			}
		case *packet.PathAttributeLargeCommunities:
			for _, c := range a.Values {
				out.LargeCommunities = append(out.LargeCommunities,
					bgp.LargeCommunity{Global: c.ASN, Local1: c.LocalData1, Local2: c.LocalData2})
			}
		case *packet.PathAttributeMultiExitDisc:
			out.MED = &a.Value
		case *packet.PathAttributeLocalPref:
			out.LocalPreference = &a.Value
		}
	}
	return out, true
}

func asPath(a *packet.PathAttributeAsPath) []uint32 {
	var out []uint32
	for _, segment := range a.Value {
		out = append(out, segment.GetAS()...)
	}
	return out
}

func hasCommunity(p *apiutil.Path, want uint32) bool {
	for _, a := range p.Attrs {
		if c, ok := a.(*packet.PathAttributeCommunities); ok {
			return slices.Contains(c.Value, want)
		}
	}
	return false
}

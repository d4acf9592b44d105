package speaker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

// Routes are the routes to a prefix, best first, or all where it is invalid;
// our own among them.
func (s *Speaker) Routes(ctx context.Context, prefix netip.Prefix) ([]bgp.Path, error) {
	if !prefix.IsValid() {
		return s.routes(ctx, nil, fabric.Families[:]...)
	}
	exact := &apiutil.LookupPrefix{Prefix: prefix.Masked().String()}
	return s.routes(ctx, []*apiutil.LookupPrefix{exact}, fabric.FamilyOf(prefix.Addr()))
}

// Match are the routes to the longest prefix that an address is in, as Routes
// has them.
func (s *Speaker) Match(ctx context.Context, a netip.Addr) ([]bgp.Path, error) {
	longest := &apiutil.LookupPrefix{Prefix: a.String()} // to GoBGP an address means just that
	return s.routes(ctx, []*apiutil.LookupPrefix{longest}, fabric.FamilyOf(a))
}

func (s *Speaker) routes(ctx context.Context, to []*apiutil.LookupPrefix, families ...fabric.Family) ([]bgp.Path, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []bgp.Path
	for _, f := range families {
		paths, err := s.list(ctx, apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: familyOf(f), Prefixes: to})
		if err != nil {
			return nil, fmt.Errorf("routes: %w", err)
		}
		for _, p := range paths {
			p.Path.Session = s.board.keyOf(p.From)
			out = append(out, p.Path)
		}
	}
	sortPaths(out)
	return out, nil
}

// Advertised are the routes told on a session.
func (s *Speaker) Advertised(ctx context.Context, key string) ([]bgp.Path, error) {
	return s.ofSession(key, func(r row, f fabric.Family) ([]bgp.Path, error) {
		if !r.families.Get(f).Negotiated || stateWord(r.state) != bgp.Established {
			return nil, nil
		}
		return s.advertised(ctx, r, f)
	})
}

// Received are the routes heard on a session, also those that the import rules
// keep out, with the rule that does.
func (s *Speaker) Received(ctx context.Context, key string) ([]bgp.Path, error) {
	return s.ofSession(key, func(r row, f fabric.Family) ([]bgp.Path, error) {
		if !r.session.Families.Get(f) || s.sessions[key] == nil && !r.dynamic {
			return nil, nil
		}
		return s.received(ctx, r, f)
	})
}

// ofSession asks for the routes of each family of a session.
func (s *Speaker) ofSession(key string, ask func(row, fabric.Family) ([]bgp.Path, error)) ([]bgp.Path, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.board.byKey(key)
	if !ok {
		return nil, fmt.Errorf("session %s: %w", key, errUnknown)
	}
	out := []bgp.Path{}
	for _, f := range fabric.Families {
		paths, err := ask(r, f)
		if err != nil {
			return nil, err
		}
		out = append(out, paths...)
	}
	sortPaths(out)
	return out, nil
}

// errUnknown answers questions about a session that there is not.
var errUnknown = errors.New("no such session")

func advertisedRequest(far netip.Addr, f fabric.Family) apiutil.ListPathRequest {
	return apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_ADJ_OUT, Name: far.String(), Family: familyOf(f)}
}

// heard is a path with what only GoBGP's form of it tells.
type heard struct {
	bgp.Path
	originator netip.Addr // ORIGINATOR_ID (RFC 4456)
}

func (s *Speaker) advertised(ctx context.Context, r row, f fabric.Family) ([]bgp.Path, error) {
	paths, err := s.list(ctx, advertisedRequest(r.addr, f))
	if err != nil {
		return nil, fmt.Errorf("advertised on %s: %w", r.session.Key, err)
	}
	out := make([]bgp.Path, len(paths))
	for i, p := range paths {
		p.Path.Session, p.Path.Best = r.session.Key, false
		out[i] = p.Path
	}
	return out, nil
}

func (s *Speaker) received(ctx context.Context, r row, f fabric.Family) ([]bgp.Path, error) {
	var out []bgp.Path
	err := s.eachReceived(ctx, r, f, func(p bgp.Path) {
		p.Session, p.Best = r.session.Key, s.rib.uses(p.Prefix, p.From)
		out = append(out, p)
	})
	return out, err
}

// eachReceived visits the routes heard on a session, with the rule that keeps
// each out.
func (s *Speaker) eachReceived(ctx context.Context, r row, f fabric.Family, visit func(bgp.Path)) error {
	j, err := newJudge(r.session.Import)
	if err != nil {
		return err
	}
	req := apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_ADJ_IN, Name: r.addr.String(), Family: familyOf(f)}
	err = s.each(ctx, req, func(p heard) {
		p.Path.Rejected = s.verdict(j, r, p)
		visit(p.Path)
	})
	if err != nil {
		return fmt.Errorf("received on %s: %w", r.session.Key, err)
	}
	return nil
}

// verdict names what keeps a route out, empty if nothing does.
func (s *Speaker) verdict(j *judge, r row, p heard) string {
	asn := s.asnOf(r.session)
	own := 0
	for _, a := range p.ASPath {
		if a == asn {
			own++
		}
	}
	internal := r.remoteASN == asn
	switch {
	case own > int(r.session.AllowOwnASN):
		return "loop: our AS is in the path"
	case internal && p.originator == s.want.Global.RouterID:
		return "loop: we are the originator"
	case r.session.RemoteASN == 0 && internal:
		return "the far end is in our own AS"
	}
	if accepted, rule := j.decide(p.Path); !accepted {
		return rule
	}
	return ""
}

// list asks GoBGP for a table.
func (s *Speaker) list(ctx context.Context, req apiutil.ListPathRequest) (out []heard, err error) {
	err = s.each(ctx, req, func(h heard) { out = append(out, h) })
	return out, err
}

// each visits the routes of one of GoBGP's tables.
func (s *Speaker) each(ctx context.Context, req apiutil.ListPathRequest, visit func(heard)) error {
	if s.server == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.server.ListPath(req, func(_ packet.NLRI, paths []*apiutil.Path) {
		for _, p := range paths {
			path, ok := toPath(p)
			if !ok {
				continue
			}
			h := heard{Path: path}
			for _, a := range p.Attrs {
				if o, ok := a.(*packet.PathAttributeOriginatorId); ok {
					h.originator = o.Value
				}
			}
			visit(h)
		}
	})
}

// sortPaths sorts by prefix, best first, then by who told them.
func sortPaths(paths []bgp.Path) {
	slices.SortStableFunc(paths, func(a, b bgp.Path) int {
		best := 0
		if a.Best != b.Best {
			best = 1
			if a.Best {
				best = -1
			}
		}
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()), best, a.From.Compare(b.From))
	})
}

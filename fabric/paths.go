package fabric

import "slices"

// Path is one way to send to a peer. Generation tells the two overlays apart
// that there are while a VXLAN port or VNI is moved; it is 0 for other kinds.
type Path struct {
	Kind       PathKind
	Generation int
}

// The words for what the overlay is used for: each stands for a list of paths
// in order of preference.
const (
	OverlayAlways      = "always"      // everything is encapsulated
	OverlayCrossSubnet = "crossSubnet" // all but what stays on a segment
	OverlayFallback    = "fallback"    // what neither a segment nor BGP reaches
	OverlayNever       = "never"       // nothing
)

// overlayPaths is the list that a word stands for; nil for no word of ours.
func overlayPaths(word string) []PathKind {
	switch word {
	case OverlayAlways:
		return []PathKind{PathVXLAN}
	case OverlayCrossSubnet:
		return []PathKind{PathDirect, PathVXLAN}
	case OverlayFallback:
		return []PathKind{PathDirect, PathBGP, PathVXLAN}
	case OverlayNever:
		return []PathKind{PathDirect, PathBGP}
	}
	return nil
}

// PathRule sets the paths for some nodes: the first rule that fits counts, and
// where none does, the specification's own list.
type PathRule struct {
	// Nodes are those whose packets it is about; Peers those that they go to,
	// nil: all.
	Nodes Selector `json:"nodes"`
	Peers Selector `json:"peers,omitempty"`
	// Paths in order of preference, or the word for such a list; one of both.
	Paths   []PathKind `json:"paths,omitempty"`
	Overlay string     `json:"overlay,omitempty"`
}

// ProbeSpec configures the probes by which agents find out what a path carries.
type ProbeSpec struct {
	Port uint16 `json:"port"` // UDP, of the agents
}

// ProbePort is where agents answer probes unless told otherwise.
const ProbePort = 7158

// backendBGP is the value of Spec.Backend that has nodes speak BGP.
const backendBGP = "bgp"

// Plan is how nodes reach each other, as far as a migration can change it: the
// fields of the same names in Spec.
type Plan struct {
	Backend string     `json:"backend"`
	Paths   []PathKind `json:"paths,omitempty"`
	Overlay string     `json:"overlay,omitempty"`
	VXLAN   VXLANSpec  `json:"vxlan"`
}

// Equal reports whether two plans say the same.
func (p Plan) Equal(q Plan) bool {
	return p.Backend == q.Backend && slices.Equal(p.Paths, q.Paths) && p.Overlay == q.Overlay && p.VXLAN == q.VXLAN
}

// Plan is the specification's.
func (s *Spec) Plan() Plan {
	return Plan{Backend: s.Backend, Paths: s.Paths, Overlay: s.Overlay, VXLAN: s.VXLAN}
}

// Apply is the specification with p in place of its own plan.
func (p Plan) Apply(s *Spec) *Spec {
	out := *s
	out.Backend, out.Paths, out.Overlay, out.VXLAN = p.Backend, p.Paths, p.Overlay, p.VXLAN
	return &out
}

// Default is the plan's list of paths where no rule says otherwise. A node with
// several uplinks asks BGP before the segment, as BGP knows all of the uplinks
// and the segment is only the one; a list that was written down is taken as it
// is.
func (p Plan) Default(severalUplinks bool) []PathKind {
	switch {
	case len(p.Paths) > 0:
		return p.Paths
	case p.Overlay != "":
		return p.ordered(overlayPaths(p.Overlay), severalUplinks)
	case p.Backend == backendBGP:
		return p.ordered(overlayPaths(OverlayFallback), severalUplinks)
	case !p.VXLAN.DirectRouting:
		return overlayPaths(OverlayAlways)
	}
	return overlayPaths(OverlayCrossSubnet)
}

// prefers reports whether Default has k. It is asked for every peer.
func (p Plan) prefers(k PathKind) bool {
	switch {
	case len(p.Paths) > 0:
		return slices.Contains(p.Paths, k)
	case p.Overlay != "":
		return slices.Contains(overlayPaths(p.Overlay), k)
	case p.Backend == backendBGP || k == PathVXLAN:
		return true // fallback has all
	}
	return k == PathDirect && p.VXLAN.DirectRouting
}

func (p Plan) ordered(list []PathKind, severalUplinks bool) []PathKind {
	if severalUplinks && len(list) > 1 && list[0] == PathDirect && list[1] == PathBGP {
		list[0], list[1] = list[1], list[0]
	}
	return list
}

// Sender is the node that chooses.
type Sender struct {
	Labels         map[string]string
	SeveralUplinks bool
}

// Prefer lists the paths from a node to a peer with these labels by plan p,
// best first.
func (p Plan) Prefer(rules []PathRule, from Sender, peer map[string]string) []Path {
	kinds := p.Default(from.SeveralUplinks)
	for _, r := range rules {
		if !r.Nodes.Matches(from.Labels) || r.Peers != nil && !r.Peers.Matches(peer) {
			continue
		}
		if kinds = r.Paths; len(kinds) == 0 {
			kinds = p.ordered(overlayPaths(r.Overlay), from.SeveralUplinks)
		}
		break
	}
	out := make([]Path, len(kinds))
	for i, k := range kinds {
		out[i].Kind = k
		if k == PathVXLAN {
			out[i].Generation = p.VXLAN.Generation
		}
	}
	return out
}

// Uses reports whether some node may send by paths of kind k: then every node
// must be able to receive by it.
func (p Plan) Uses(rules []PathRule, k PathKind) bool {
	if p.prefers(k) {
		return true
	}
	return slices.ContainsFunc(rules, func(r PathRule) bool {
		return slices.Contains(r.Paths, k) || slices.Contains(overlayPaths(r.Overlay), k)
	})
}

// Routes reports whether nodes speak BGP: they do too where all that pods say to
// each other is encapsulated, for those outside of the fabric.
func (p Plan) Routes(rules []PathRule) bool { return p.Backend == backendBGP || p.Uses(rules, PathBGP) }

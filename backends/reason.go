package backends

import (
	"net/netip"
	"strings"

	"github.com/weft-net/weft/fabric"
)

// Reason is why there is a way to a peer, or why there is none. Most are never
// read, so it is put into words when somebody asks for them.
type Reason struct {
	// Form is the sentence, with LINK, FAR and FAMILY in the place of the others.
	Form   string
	Link   string
	Far    netip.Addr
	Family fabric.Family
}

func (r Reason) String() string {
	return strings.NewReplacer("LINK", r.Link, "FAR", r.Far.String(), "FAMILY", r.Family.String()).Replace(r.Form)
}

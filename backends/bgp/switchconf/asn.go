package switchconf

import (
	"fmt"
	"strconv"

	"github.com/weft-net/weft/fabric"
)

// nodeASN is the AS of a node by the Fabric's rule.
func nodeASN(s *fabric.BGPSpec, n *fabric.Node) (uint32, error) {
	switch s.ASN {
	case fabric.ASNPerNode:
		if n.Index == 0 {
			return 0, fmt.Errorf("it has no index yet, and so no AS")
		}
		return fabric.ASNBase + n.Index, nil
	case fabric.ASNPerLabel:
		if asn, ok := s.ASNs[n.Labels[s.ASNLabel]]; ok {
			return asn, nil
		}
		return 0, fmt.Errorf("no AS is set for its label %s=%s", s.ASNLabel, n.Labels[s.ASNLabel])
	}
	asn, err := strconv.ParseUint(s.ASN, 10, 32)
	return uint32(asn), err
}

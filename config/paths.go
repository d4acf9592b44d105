package config

import (
	"net/netip"

	"github.com/weft-net/weft/fabric"
)

// CheckPlan says what is wrong with a plan by itself, nil if nothing is. What
// depends on the fabric's families is not looked at.
func CheckPlan(p fabric.Plan) error {
	s := p.Apply(&fabric.Spec{Network: fabric.PerFamily[netip.Prefix]{IPv4: netip.PrefixFrom(netip.IPv4Unspecified(), 0)}})
	if err := validateBackend(s); err != nil {
		return err
	}
	return nil
}

package plumb

import (
	"net/netip"
	"testing"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/ipam"
)

func TestGuardTable(t *testing.T) {
	testns.New(t)
	a := ipam.Attachment{Container: "one", Interface: "eth0"}
	g := GuardOf(a, fabric.MAC{10, 0x58, 10, 1, 0, 2}, []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24"), netip.MustParsePrefix("fd00::2/64")})
	if err := AddGuard(g); err != nil {
		t.Fatal(err)
	}
	t.Log(testns.Run(t, "nft", "list", "ruleset"))
	t.Log(Guards())
	if err := AddGuard(g); err != nil {
		t.Fatal(err)
	}
	if err := CheckGuard(g); err != nil {
		t.Fatal(err)
	}
	if err := Unguard(a); err != nil {
		t.Fatal(err)
	}
	if err := Unguard(a); err != nil {
		t.Fatal(err)
	}
	t.Log(testns.Run(t, "nft", "list", "ruleset"))
}

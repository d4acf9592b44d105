package cni

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckFindsTampering(t *testing.T) {
	tests := []struct {
		name, pod, host string // shell commands; PORT is the host interface
		words           string // "" for no complaint
	}{
		{"untouched", "", "", ""},
		{"the pod's own additions", "ip addr add 192.0.2.1/32 dev eth0; ip route add 198.51.100.0/24 dev eth0", "", ""},
		{"address removed", "ip addr del 10.1.2.2/24 dev eth0; ip route add 10.1.2.0/24 dev eth0; ip route add default via 10.1.2.1", "", "lost address 10.1.2.2/24"},
		{"IPv6 address removed", "ip addr del fd00::2/64 dev eth0", "", "lost address fd00::2/64"},
		{"address with another length", "ip addr del 10.1.2.2/24 dev eth0; ip addr add 10.1.2.2/25 dev eth0; ip route add default via 10.1.2.1", "", "lost address"},
		{"route removed", "ip route del default", "", "default route via 10.1.2.1"},
		{"IPv6 route removed", "ip -6 route del default", "", "default route via fd00::1"},
		{"route through another gateway", "ip route replace default via 10.1.2.77", "", "default route"},
		{"MAC changed", "ip link set eth0 address 02:00:00:00:00:99", "", "was given"},
		{"interface down", "ip link set eth0 down", "", "eth0 is down"},
		{"interface renamed", "ip link set eth0 down; ip link set eth0 name eth9", "", "eth0 is gone"},
		{"interface deleted", "ip link del eth0", "", "is gone"},
		{"off the bridge", "", "ip link set PORT nomaster", "not a port of weft0"},
		{"on another bridge", "", "ip link add br1 type bridge; ip link set PORT master br1", "not a port of weft0"},
		{"host interface down", "", "ip link set PORT down", "is down"},
		{"bridge deleted", "", "ip link del weft0", "weft0 is gone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "10.1.2.0/24", "fd00::/64")
			p := w.pod("c1")
			_, raw := w.add(p)
			if tt.pod != "" {
				w.in(p, "sh", "-ec", tt.pod)
			}
			if tt.host != "" {
				w.host("sh", "-ec", strings.ReplaceAll(tt.host, "PORT", w.ports()[0]))
			}
			c := call{command: "CHECK", id: p.id, netns: p.netns, prev: raw}
			if tt.words == "" {
				w.addless(c)
				return
			}
			w.fails(c, codeMismatch, tt.words)
		})
	}
}

func TestCheckNeedsTheSlotAndTheResult(t *testing.T) {
	w := newWorld(t, "10.1.2.0/24")
	p := w.pod("c1")
	_, raw := w.add(p)
	c := call{command: "CHECK", id: p.id, netns: p.netns}
	w.fails(c, 7, "CHECK needs it")
	c.prev = []byte(`{"cniVersion":"1.1.0","interfaces":[],"ips":[]}`)
	w.fails(c, 7, "lacks the interfaces")
	c.prev = raw
	c.id = "c2"
	w.fails(c, 7, "lacks the interfaces")
	c.id = "c1"
	if err := os.RemoveAll(filepath.Join(w.runDir, "slots")); err != nil {
		t.Fatal(err)
	}
	w.fails(c, codeMismatch, "address 10.1.2.2 is not allocated")
}

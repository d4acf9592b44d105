package lab

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/fabric"
)

// TestTrafficFaults: what was sent again although it had arrived is no fault,
// and everything else is.
func TestTrafficFaults(t *testing.T) {
	whole := FlowReport{From: "a", To: "b", Sent: 3, Received: 3}
	late := whole
	late.Reordered = 2
	for _, tt := range []struct {
		name string
		in   TrafficReport
		want []string
	}{
		{"all well", TrafficReport{Report: Report{Flows: []FlowReport{whole}}, TCP: []TCPReport{{Sent: 9, Received: 9, Retransmits: 1, Spurious: 1}}}, nil},
		{"lost", TrafficReport{Report: Report{Flows: []FlowReport{whole, {From: "b", To: "a", Family: fabric.IPv4, Sent: 3, Received: 2, Lost: 1, LongestGap: 1, GapFrom: 2}}}},
			[]string{"b -> a ipv4: lost 1 of 3 (1 in a row from number 2, 0 refused by the sender's kernel), 0 answers lost"}},
		{"out of order", TrafficReport{Report: Report{Flows: []FlowReport{late}}}, []string{"2 packets came out of order"}},
		{"a stream", TrafficReport{TCP: []TCPReport{{Sent: 9, Received: 9}, {Sent: 9, Received: 8, Retransmits: 3, Spurious: 1}}},
			[]string{"TCP stream 2: 8 of 9 bytes arrived", "TCP stream 2: 2 segments were lost and sent again"}},
	} {
		if d := cmp.Diff(tt.want, tt.in.Faults()); d != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, d)
		}
	}
}

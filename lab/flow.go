package lab

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/fabric"
)

// arrivals accounts for numbered packets as they come in.
type arrivals struct {
	seen       []uint64 // bit set by sequence number
	next       uint64   // one more than the largest number seen
	received   int      // different numbers
	reordered  int
	duplicated int
}

// add notes the arrival of a number; false means that it was there before.
// A packet is reordered if a larger number came first (RFC 4737, 3.3).
func (a *arrivals) add(seq uint64) bool {
	word, bit := int(seq/64), uint64(1)<<(seq%64)
	for len(a.seen) <= word {
		a.seen = append(a.seen, 0)
	}
	if a.seen[word]&bit != 0 {
		a.duplicated++
		return false
	}
	a.seen[word] |= bit
	a.received++
	if seq < a.next {
		a.reordered++
	} else {
		a.next = seq + 1
	}
	return true
}

// longestGap is the largest number of packets in a row, of the first sent
// ones, that did not come, and the number of the first of them.
func (a *arrivals) longestGap(sent uint64) (longest, from int) {
	run := 0
	for seq := range sent {
		word := int(seq / 64)
		if word < len(a.seen) && a.seen[word]>>(seq%64)&1 != 0 {
			run = 0
			continue
		}
		if run++; run > longest {
			longest, from = run, int(seq)+1-run
		}
	}
	return longest, from
}

// flow is the requests from one endpoint to another in one family, and the
// answers to them.
type flow struct {
	from, to string
	dst      netip.AddrPort
	in, out  *socket // where requests arrive, and where they leave

	mu       sync.Mutex // guards what follows
	sent     uint64
	refused  int // of sent, those that the sender's own kernel refused
	lastErr  error
	requests arrivals // at the far end
	replies  arrivals // back at the sender
	rtt      []time.Duration
	late     int
	seenFrom netip.Addr // source address of the latest request
}

func (f *flow) family() fabric.Family { return fabric.FamilyOf(f.dst.Addr()) }

// FlowReport is what became of one direction between two endpoints.
type FlowReport struct {
	From, To string
	Family   fabric.Family
	Sent     int // requests
	Received int // of them, at the far end
	Lost     int // Sent - Received
	// LostReplies are answers that did not come back; each received request
	// is answered once.
	LostReplies int
	Refused     int // of Lost, those that the sender's own kernel refused
	Late        int // answered, but slower than Options.Late
	Reordered   int // requests and answers
	Duplicated  int // requests and answers
	// LongestGap is the most requests lost in a row, and GapFrom the number of the
	// first of them, from 0: with the rate it says when that was.
	LongestGap, GapFrom int
	RTT                 RTT
	// SeenFrom is the source address of the latest request at the far end.
	SeenFrom netip.Addr
	// Err is the last error of sending, if any.
	Err error
}

// RTT summarizes round-trip times. All zero: no answer came.
type RTT struct{ Min, Median, P99, Max time.Duration }

func (f *flow) report() FlowReport {
	f.mu.Lock()
	defer f.mu.Unlock()
	gap, gapFrom := f.requests.longestGap(f.sent)
	return FlowReport{
		From: f.from, To: f.to, Family: f.family(),
		Sent: int(f.sent), Received: f.requests.received, Lost: int(f.sent) - f.requests.received,
		LostReplies: f.requests.received - f.replies.received, Refused: f.refused, Late: f.late,
		Reordered:  f.requests.reordered + f.replies.reordered,
		Duplicated: f.requests.duplicated + f.replies.duplicated,
		LongestGap: gap, GapFrom: gapFrom, RTT: summarize(f.rtt), SeenFrom: f.seenFrom, Err: f.lastErr,
	}
}

func summarize(samples []time.Duration) RTT {
	if len(samples) == 0 {
		return RTT{}
	}
	s := slices.Sorted(slices.Values(samples))
	return RTT{Min: s[0], Median: s[len(s)/2], P99: s[len(s)*99/100], Max: s[len(s)-1]}
}

// request notes the arrival of a request.
func (f *flow) request(seq uint64, from netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests.add(seq)
	f.seenFrom = from
}

// reply notes the arrival of an answer.
func (f *flow) reply(seq uint64, rtt, late time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.replies.add(seq) {
		return
	}
	f.rtt = append(f.rtt, rtt)
	if rtt > late {
		f.late++
	}
}

// number takes the next sequence number.
func (f *flow) number() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent++
	return f.sent - 1
}

// failed notes that a request could not even be handed to the kernel.
func (f *flow) failed(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused++
	f.lastErr = err
}

// settled reports whether every request is accounted for at both ends.
func (f *flow) settled() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.replies.received == int(f.sent)
}

package speaker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/internal/testbgp"
)

// staticRoutes are n /24s or longer for BIRD.
func staticRoutes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "route 10.%d.%d.%d/28 blackhole;\n", 16+i>>12, i>>4&255, i&15<<4)
	}
	return b.String()
}

func manyRoutes(n int) string {
	return strings.Replace(birdConfig, "route 10.8.0.0/24 blackhole; route 10.9.0.0/24 blackhole;", staticRoutes(n), 1)
}

// Ten thousand routes arrive whole, and go whole, in batches of our choosing.
func TestManyRoutes(t *testing.T) {
	t.Parallel()
	const routes = 10000
	n := newNetwork(t)
	n.bird(manyRoutes(routes))
	s := n.speaker()
	s.set(wanted(toBird()))
	s.established("tors/198.18.1.1")
	testbgp.Poll(t, "all routes", func() (bool, string) { r := s.routes(); return len(r) == routes, fmt.Sprint(len(r)) })
	testbgp.Poll(t, "all counted", func() (bool, string) {
		st := s.session("tors/198.18.1.1").Families.IPv4
		return st.Received == routes && st.Accepted == routes, fmt.Sprintf("%+v", st)
	})
	s.set(wanted())
	testbgp.Poll(t, "none", func() (bool, string) { r := s.routes(); return len(r) == 0, fmt.Sprint(len(r)) })
}

// BenchmarkReceive takes routes from BIRD up to Take: routes/s from the first
// route to the last, and the speaker's heap per route.
func BenchmarkReceive(b *testing.B) {
	for _, routes := range []int{10000, 100000} {
		b.Run(fmt.Sprint(routes), func(b *testing.B) {
			// The helpers are a test's; a benchmark borrows one.
			ok := testing.RunTests(func(_, _ string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: b.Name(), F: func(t *testing.T) {
				receive(t, b, routes)
			}}})
			if !ok {
				b.Fatal("see above")
			}
		})
	}
}

func receive(t *testing.T, b *testing.B, routes int) {
	n := newNetwork(t)
	n.bird(manyRoutes(routes))
	s := n.speaker()
	s.set(wanted())
	idle := s.call(request{Op: "heap"}).Heap
	s.set(wanted(toBird()))
	s.established("tors/198.18.1.1")
	began := time.Now()
	testbgp.Poll(t, "all routes", func() (bool, string) { r := s.routes(); return len(r) == routes, fmt.Sprint(len(r)) })
	took := time.Since(began)
	heap := s.call(request{Op: "heap"}).Heap
	b.ReportMetric(float64(routes)/took.Seconds(), "routes/s")
	b.ReportMetric(float64(heap-idle)/float64(routes), "heapB/route")
	b.ReportMetric(float64(idle)/1e6, "idleMB")
}

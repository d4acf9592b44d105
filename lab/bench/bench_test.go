package bench

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/lab"
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	code, ran, err := lab.EnterUserNamespace()
	if ran {
		return code
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err) // testns.New leaves out what cannot be
	}
	return m.Run()
}

// binaries are those of WEFT_TEST_BIN, or built.
func binaries(t *testing.T) lab.Binaries {
	t.Helper()
	bin := lab.BinariesIn(os.Getenv("WEFT_TEST_BIN"))
	if bin.Weftd == "weftd" {
		var err error
		if bin, err = lab.BuildBinaries(t.Context(), t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

// TestBenchCNI runs the plugin's benchmarks small; see TestBench.
func TestBenchCNI(t *testing.T) {
	testns.New(t)
	var out strings.Builder
	if err := RunCNI(t.Context(), CNIOptions{Binaries: binaries(t), Out: &out, Rounds: 2, Pods: 3, Taken: 100}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one at a time", "processor time", "8 at a time", "with 3 pods", "VERSION", "size of", "of a /16", "microseconds"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestBench runs the whole program at a size that takes seconds: it is the
// figures' presence that is tested, and that weftd programs each peer, not
// the figures.
func TestBench(t *testing.T) {
	testns.New(t)
	var out strings.Builder
	o := Options{Binaries: binaries(t), Out: &out, Peers: []int{20, 40}, RestartPeers: 40, Runs: 1, Rounds: 3}
	if err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"new node, 40 peers", "CPU per peer", "to etcd", "lease to kernel", "netlink writes", "packets lost"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestSumMetric(t *testing.T) {
	page := "# HELP a_total of a\na_total{op=\"get\"} 2\na_total{op=\"put\"} 1e+01\na_total_more 7\nb 5\n"
	for name, want := range map[string]float64{"a_total": 12, "b": 5, "c": 0} {
		if got := sumMetric(page, name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestSubnetKey(t *testing.T) {
	p := subnetOf(257)
	if got, want := subnetKey(p), prefix+"subnets/ipv4/010.001.001.000-24"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	back, err := parseSubnet("010.001.001.000-24")
	if err != nil || back != p {
		t.Errorf("%s, %v", back, err)
	}
}

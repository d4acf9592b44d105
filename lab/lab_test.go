package lab

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/internal/testns"
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	code, ran, err := EnterUserNamespace()
	if ran {
		return code
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err) // testns.New leaves out what cannot be
	}
	if os.Getenv(abandonEnv) != "" {
		return abandon()
	}
	defer func() { os.RemoveAll(binDir) }()
	return m.Run()
}

// binDir holds the programs that the tests run; made at first use.
var binDir string

var binaries = sync.OnceValues(func() (Binaries, error) {
	if dir := os.Getenv("WEFT_TEST_BIN"); dir != "" { // a release, say
		return BinariesIn(dir), nil
	}
	var err error
	if binDir, err = os.MkdirTemp("", "weft-lab-bin-"); err != nil {
		return Binaries{}, err
	}
	return BuildBinaries(context.Background(), binDir)
})

// testContext ends well before a test run as a whole would be killed.
func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Minute, fmt.Errorf("%s took too long", t.Name()))
	t.Cleanup(cancel)
	return ctx
}

// bareLab builds a lab in which no program of weft runs.
func bareLab(t *testing.T, topo Topology) *Lab {
	t.Helper()
	return makeLab(t, Options{Topology: topo})
}

func makeLab(t *testing.T, o Options) *Lab {
	t.Helper()
	testns.New(t)
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	})
	return l
}

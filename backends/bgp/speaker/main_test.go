package speaker

import (
	"os"
	"testing"

	"github.com/weft-net/weft/internal/testns"
)

// TestMain is also the main of the speakers that tests start: GoBGP opens its
// sockets on whatever thread it is on, so a speaker in another namespace is
// another process.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(childMain())
	}
	os.Exit(testns.Main(m))
}

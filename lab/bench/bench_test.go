package bench

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/weft-net/weft/lab"
)

func TestTmp(t *testing.T) {
	bin := lab.BinariesIn("/tmp/wl/bin")
	for _, n := range []int{0, 1000, 10000} {
		j, err := lease(context.Background(), bin, n+1, 100)
		fmt.Fprintf(os.Stderr, "%+v %v\n", j, err)
	}
}

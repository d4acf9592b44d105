package agent

import (
	"io"
	"os"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/internal/testns"
)

func TestMain(m *testing.M) { os.Exit(testns.Main(m)) }

func quiet() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}

package agent

import (
	"fmt"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notifier tells the service manager how the agent is. READY is said once,
// after the first clean round; the status line follows every change. Only the
// loop calls it.
type notifier struct {
	send  func(string)
	ready bool
	last  string
}

func (n *notifier) round(s *summary) {
	if n.send == nil {
		return
	}
	if s.ready && !n.ready {
		n.ready = true
		n.send(daemon.SdNotifyReady)
	}
	line := fmt.Sprintf("ready, %s", plural(s.desired, "peer", "peers"))
	if !s.ready {
		line = "not ready: " + strings.Join(s.reasons, "; ")
	}
	if line != n.last {
		n.last = line
		n.send("STATUS=" + strings.ReplaceAll(line, "\n", " "))
	}
}

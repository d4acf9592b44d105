package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/weft-net/weft/lab"
)

// udpArrivals is how many datagrams reached sockets of the calling thread's
// namespace, those that found the buffer full included.
func udpArrivals() (int, error) {
	data, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		return 0, err
	}
	var names []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Udp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		sum := 0
		for i, name := range names {
			if name == "InDatagrams" || name == "RcvbufErrors" {
				n, err := strconv.Atoi(fields[i])
				if err != nil {
					return 0, fmt.Errorf("/proc/net/snmp: %w", err)
				}
				sum += n
			}
		}
		return sum, nil
	}
	return 0, errors.New("/proc/net/snmp has no line of UDP")
}

// quietBridge keeps packets on the bridge away from the IP hooks. That is how a
// host is by default, but for one whose kernel has br_netfilter loaded, as the
// benchmark's own layout needs it.
func quietBridge(l *lab.Lab) error {
	return eachHost(l, func(h *lab.Host) error {
		err := h.Sysctl("net/bridge/bridge-nf-call-iptables", "0")
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
}

// commonLayout gives both hosts what the usual overlays have: packets on the
// bridge pass the IP hooks, and iptables rules decide on masquerade. The agents
// must go first, as they would put their own rules back.
func commonLayout(ctx context.Context, bin lab.Binaries) (*layout, error) {
	l, err := newLayout(ctx, bin, map[string]any{"overlay": "always"}, nil)
	if err != nil {
		return l, err
	}
	return l, eachHost(l.lab, func(h *lab.Host) error {
		if err := h.Agent.Stop(ctx); err != nil {
			return err
		}
		if err := h.Sysctl("net/bridge/bridge-nf-call-iptables", "1"); err != nil {
			return fmt.Errorf("br_netfilter: %w", err)
		}
		return run(ctx, h.Namespace, commonRules)
	})
}

// run runs a shell script in a namespace.
func run(ctx context.Context, n *lab.Namespace, script string) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-ec", script)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.Start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(out.String()))
	}
	return nil
}

func eachHost(l *lab.Lab, do func(*lab.Host) error) error {
	for _, h := range l.Hosts {
		if err := do(h); err != nil {
			return fmt.Errorf("%s: %w", h.Spec.Name, err)
		}
	}
	return nil
}

// commonRules are such rules for the benchmark's network.
const commonRules = `
nft delete table inet weft
iptables -P FORWARD DROP
iptables -N COMMON-FWD
iptables -A FORWARD -j COMMON-FWD
iptables -A COMMON-FWD -s 10.0.0.0/8 -j ACCEPT
iptables -A COMMON-FWD -d 10.0.0.0/8 -j ACCEPT
iptables -t nat -N COMMON-POSTRTG
iptables -t nat -A POSTROUTING -j COMMON-POSTRTG
iptables -t nat -A COMMON-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN
iptables -t nat -A COMMON-POSTRTG -s 10.0.0.0/24 -d 10.0.0.0/8 -j RETURN
iptables -t nat -A COMMON-POSTRTG -s 10.0.0.0/8 -d 10.0.0.0/8 -j RETURN
iptables -t nat -A COMMON-POSTRTG -s 10.0.0.0/8 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully
`

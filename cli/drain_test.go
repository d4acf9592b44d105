package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/golden"
	"github.com/weft-net/weft/store"
)

const torsYAML = `---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: tors}
spec:
  nodes: {}
  peer: {gateways: all}
  asn: external
`

// joinDraining runs a real session for a node that carries out what operators
// want of it, a stage at a time: the first at once, each further one when the
// one before was seen.
func joinDraining(t *testing.T, env []string, n fabric.Node, stages []fabric.Drain, seen <-chan struct{}) {
	t.Helper()
	s := openStore(t, env)
	news := make(chan *fabric.Snapshot, 1)
	leased := make(chan struct{}, 1)
	session := s.NewSession(store.SessionOptions{
		Self: n, Instance: "life of " + n.Name,
		Snapshots: func(snap *fabric.Snapshot) {
			select {
			case <-news:
			default:
			}
			news <- snap
		},
		Lease: func(l store.Lease) {
			if l.State == "leased" {
				select {
				case leased <- struct{}{}:
				default:
				}
			}
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- session.Run(ctx) }()
	go func() {
		defer func() { ended <- nil }()
		for i := 0; i < len(stages); {
			select {
			case <-ctx.Done():
				return
			case snap := <-news:
				d, wanted := snap.Drained[n.Name]
				if !wanted || i > 0 && d.State != stages[i-1].State {
					continue
				}
				if i > 0 {
					select {
					case <-ctx.Done():
						return
					case <-seen:
					}
				}
				next := stages[i]
				next.Since, next.At = d.Since, d.Since.Add(next.At.Sub(time.Time{}))
				session.ReportDrain(next)
				i++
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	select {
	case <-leased:
	case <-time.After(time.Minute):
		t.Fatalf("%s leased nothing", n.Name)
	}
}

// watched is an output that says when a stage was printed.
type watched struct {
	strings.Builder
	seen chan<- struct{}
}

func (w *watched) Write(b []byte) (int, error) {
	if strings.HasPrefix(string(b), "  ") {
		w.seen <- struct{}{}
	}
	return w.Builder.Write(b)
}

func after(d time.Duration) time.Time { return time.Time{}.Add(d) }

// TestDrain: a node is drained stage by stage, is shown so, and comes back.
func TestDrain(t *testing.T) {
	env := etcd(t)
	if r := command(t, env, routingYAML, "apply", "-f", "-"); r.code != exitDone {
		t.Fatal(r.err)
	}
	seen := make(chan struct{}, 10)
	joinDraining(t, env, nodeOf("host1", 0, "198.18.0.1", ""), []fabric.Drain{
		{State: "leaving", Reason: "192.0.2.53/32 is sent to 2 peers with community 65535:0", At: after(time.Second)},
		{State: "withdrawn", Reason: "310 packets in the last second", At: after(11 * time.Second)},
		{State: "quiet", Reason: "no packet for 10s", At: after(31 * time.Second)},
	}, seen)
	joinDraining(t, env, nodeOf("host2", 0, "198.18.0.2", ""), []fabric.Drain{{State: "leaving", Reason: "12 packets in the last second", At: after(0)}}, nil)
	var life strings.Builder
	show := func(code int, line string) {
		t.Helper()
		r := command(t, env, "", strings.Fields(line)...)
		if r.code != code {
			t.Errorf("%s: exit code %d, want %d", line, r.code, code)
		}
		checkWidth(t, r.out)
		life.WriteString("$ weft " + line + "\n" + r.out + r.err)
	}
	out, errOut := &watched{seen: seen}, &strings.Builder{}
	code := Run(t.Context(), Terminal{In: strings.NewReader(""), Out: out, Err: errOut, Environ: env, Now: time.Now}, []string{"node", "drain", "host1"})
	if code != exitDone || errOut.Len() > 0 {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	checkWidth(t, out.String())
	life.WriteString("$ weft node drain host1\n" + out.String())
	show(exitDone, "node drain host1") // is so already
	show(exitDone, "node drain host2 --wait 0")
	waitFor(t, "host2 to leave", func() bool { return strings.Contains(command(t, env, "", "nodes").out, "leaving") })
	show(exitFailed, "node drain host2 --wait 2s")
	show(exitDone, "nodes")
	show(exitDone, "node undrain host1")
	show(exitDone, "node undrain host1")
	show(exitDone, "nodes")
	show(exitFailed, "node drain host3")
	show(exitFailed, "node undrain host3")
	golden.Compare(t, "drain.txt", life.String())

	var rows []nodeRow
	if r := command(t, env, "", "nodes", "-o", "json"); json.Unmarshal([]byte(r.out), &rows) != nil || len(rows) != 2 || rows[1].Drain == nil || rows[0].ASN != fabric.ASNBase+rows[0].Index {
		t.Errorf("json: %+v", r)
	}
}

// TestDrainNeedsRouting: where nothing is announced there is nothing to drain,
// and a node whose agent is gone is waited for in vain.
func TestDrainNeedsRouting(t *testing.T) {
	env := etcd(t)
	if r := command(t, env, fabricYAML, "apply", "-f", "-"); r.code != exitDone {
		t.Fatal(r.err)
	}
	r := command(t, env, "", "node", "drain", "host1")
	if r.code != exitFailed || !strings.Contains(r.err, "only a fabric whose backend is bgp") {
		t.Errorf("got %+v", r)
	}
	if r := command(t, env, "", "node", "drain", "host1", "--wait", "-1s"); r.code != exitUsage {
		t.Errorf("negative: %+v", r)
	}
}

// TestDrainOfADeadAgent says what it waits for.
func TestDrainOfADeadAgent(t *testing.T) {
	env := etcd(t)
	if r := command(t, env, routingYAML, "apply", "-f", "-"); r.code != exitDone {
		t.Fatal(r.err)
	}
	stop := join(t, env, nodeOf("host1", 0, "198.18.0.1", ""))
	stop()
	waitFor(t, "the agent's alive key to expire", func() bool { return strings.Contains(command(t, env, "", "nodes").out, " gone ") })
	r := command(t, env, "", "node", "drain", "host1", "--wait", "700ms")
	if r.code != exitFailed || !strings.Contains(r.err, "note: the agent of host1 is gone") || !strings.Contains(r.err, "not quiet after 700ms: its agent has not seen it yet") {
		t.Errorf("got %+v", r)
	}
}

// TestTorConfig: from etcd with its nodes, and from a file before there are
// any.
func TestTorConfig(t *testing.T) {
	env := etcd(t)
	if r := command(t, env, routingYAML+torsYAML, "apply", "-f", "-"); r.code != exitDone {
		t.Fatal(r.err)
	}
	stop := join(t, env, nodeOf("host1", 0, "198.18.1.11", ""))
	defer stop()
	other := join(t, env, nodeOf("host2", 0, "198.18.9.12", ""))
	defer other()
	r := command(t, env, "", strings.Fields("bgp tor-config --for frr --asn 65101 --address 198.18.1.1/24 --name tor1")...)
	for _, want := range []string{" neighbor 198.18.1.11 remote-as 420000000", " neighbor 198.18.1.11 description host1\n", "router bgp 65101\n bgp router-id 198.18.1.1\n", "! Switch tor1, AS 65101"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("lacks %q:\n%s", want, r.out)
		}
	}
	if r.code != exitDone || r.err != "note: BGPPeer tors: no address in 198.18.1.0/24 is known of host2: left out (if they are there, give it, or listen on the segment)\n" {
		t.Errorf("exit code %d, %s", r.code, r.err)
	}
	r = command(t, env, "", strings.Fields("bgp tor-config --for bird --asn 65101 --address 198.18.1.1/24 --node host2=198.18.1.12")...)
	if r.code != exitDone || r.err != "" || !strings.Contains(r.out, "neighbor 198.18.1.12 as 420000000") {
		t.Errorf("node's address: %+v", r)
	}
	for line, want := range map[string]result{
		"--node host9=198.18.1.9":       {code: exitFailed, err: "there is no node host9"},
		"--node host2=x":                {code: exitUsage, err: "is not NAME=ADDRESS[,LABEL=VALUE...]"},
		"--node host2=198.18.1.12,rack": {code: exitUsage, err: "is not NAME=ADDRESS[,LABEL=VALUE...]"},
		"--for ios":                     {code: exitUsage, err: `--for: "ios" is no kind of switch`},
		"--asn 0":                       {code: exitUsage, err: "needs --asn NUMBER"},
		"--address x":                   {code: exitUsage, err: `--address: "x" is not an address with a prefix length`},
		"--address 2001:db8::1/64 --router-id fe80::1": {code: exitUsage, err: "not in IPv4 form"},
		"--port =host1":           {code: exitUsage, err: `--port: "=host1" is not PORT or PORT=NODE`},
		"--address 198.18.7.1/24": {code: exitDone},
	} {
		args := strings.Fields("bgp tor-config --for frr --asn 65101 --address 198.18.1.1/24 " + line)
		if r := command(t, env, "", args...); r.code != want.code || !strings.Contains(r.err, want.err) {
			t.Errorf("%s: %+v", line, r)
		}
	}
	r = command(t, env, "", strings.Fields("bgp tor-config --for frr --asn 65101 --address 198.18.7.1/24")...)
	if r.code != exitFailed || !strings.Contains(r.err, "this switch has no session with any node") {
		t.Errorf("a switch without nodes: %+v", r)
	}
	nowhere := []string{"WEFT_CONFIG=/dev/null", "WEFT_ETCD_ENDPOINTS=http://127.0.0.1:1"}
	r = command(t, nowhere, routingYAML+torsYAML, strings.Fields("bgp tor-config -f - --for eos --asn 65101 --address 198.18.1.1/24 --listen")...)
	if r.code != exitDone || r.err != "" || !strings.Contains(r.out, "bgp listen range 198.18.1.0/24 peer-group tors") {
		t.Errorf("from a file: %+v", r)
	}
	r = command(t, nowhere, torsYAML, strings.Fields("bgp tor-config -f - --for eos --asn 65101 --address 198.18.1.1/24 --listen")...)
	if r.code != exitUsage || !strings.Contains(r.err, "there is no Fabric") {
		t.Errorf("a file without a Fabric: %+v", r)
	}
	for _, kind := range []string{"frr", "bird", "eos", "nxos", "junos", "sonic"} {
		if r := command(t, env, "", strings.Fields(fmt.Sprintf("bgp tor-config --for %s --asn 65101 --address 198.18.1.1/24 --listen", kind))...); r.code != exitDone || r.out == "" {
			t.Errorf("%s: %+v", kind, r)
		}
	}
}

package runtimes

import (
	"context"
	"strings"
	"testing"
)

func testPodman(ctx context.Context, t *testing.T, hosts []*Machine) {
	var pods []*Podman
	var webs []*Container
	for _, m := range hosts {
		p, err := m.Podman(ctx)
		must(t, err)
		c, err := p.Start(ctx, "podman-"+m.Spec.Name)
		must(t, err)
		i, _ := eth0(ctx, t, m, c)
		in, err := p.Inspect(ctx, c.Name)
		must(t, err)
		if in.IPAddress != i.Addrs[0].Addr() || in.GlobalIPv6Address != i.Addrs[1].Addr() || in.MacAddress != i.MAC.String() {
			t.Errorf("podman says %+v, the container has %+v", in, i)
		}
		pods, webs = append(pods, p), append(webs, c)
	}
	meet(ctx, t, webs[0], webs[1])
	testPodmanReload(ctx, t, hosts[0], pods[0], webs)
	testPodmanStatic(ctx, t, hosts[0], pods[0], webs[1])
	for i, p := range pods {
		_, a := eth0(ctx, t, hosts[i], webs[i])
		_, err := p.Do(ctx, "rm", "--force", "--time", "0", webs[i].Name)
		must(t, err)
		must(t, gone(t, hosts[i], a))
	}
}

// testPodmanReload has podman attach a container again: without its namespace
// changing (network reload) and with a new one (stop, start). The addresses
// stay, although they were free for a moment.
func testPodmanReload(ctx context.Context, t *testing.T, m *Machine, p *Podman, webs []*Container) {
	before, a := eth0(ctx, t, m, webs[0])
	for _, again := range [][]string{{"network reload"}, {"stop", "start"}} {
		for _, words := range again {
			_, err := p.Do(ctx, append(strings.Fields(words), webs[0].Name)...)
			must(t, err)
			if words == "stop" {
				must(t, gone(t, m, a))
			}
		}
		after, _ := eth0(ctx, t, m, webs[0])
		if !after.Equal(before) {
			t.Errorf("%s: it had %v and has %v", again, before, after)
		}
		meet(ctx, t, webs[0], webs[1])
	}
}

// testPodmanStatic asks for addresses and a MAC.
func testPodmanStatic(ctx context.Context, t *testing.T, m *Machine, p *Podman, far *Container) {
	want := Interface{MAC: []byte{2, 0x42, 0, 0, 0, 9}, Addrs: free(t, m, 100)}
	options := []string{"--ip", want.Addrs[0].Addr().String(), "--ip6", want.Addrs[1].Addr().String(), "--mac-address", want.MAC.String()}
	c, err := p.Start(ctx, "podman-static", options...)
	must(t, err)
	got, a := eth0(ctx, t, m, c)
	if !got.Equal(want) {
		t.Errorf("it has %v, want %v", got, want)
	}
	meet(ctx, t, c, far)
	if _, err := p.Start(ctx, "podman-second", options[:2]...); err == nil || !strings.Contains(err.Error(), options[1]) {
		t.Errorf("an address that is taken: %v, want an error that names %s", err, options[1])
	}
	for _, name := range []string{"podman-second", "podman-static"} {
		_, err := p.Do(ctx, "rm", "--force", "--time", "0", name)
		must(t, err)
	}
	must(t, gone(t, m, a))
}

package runtimes

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/weft-net/weft/cni/record"
)

// testCRI does what a kubelet does.
func testCRI(ctx context.Context, t *testing.T, hosts []*Machine, daemons []*Containerd) {
	var clients []*CRI
	var webs []*Container
	for i, m := range hosts {
		c, err := daemons[i].CRI()
		must(t, err)
		defer c.Close()
		pod := runPod(ctx, t, m, c, "cri-"+m.Spec.Name, nil)
		clients, webs = append(clients, c), append(webs, pod.Container)
	}
	meet(ctx, t, webs[0], webs[1])
	testPodAnnotations(ctx, t, hosts[0], clients[0], webs[1])
	testVanishedNamespace(ctx, t, hosts[0], clients[0])
	for i, m := range hosts {
		_, a := eth0(ctx, t, m, webs[i])
		for range 2 { // a kubelet repeats itself
			must(t, clients[i].StopPod(ctx, webs[i].ID))
			must(t, gone(t, m, a))
		}
		must(t, clients[i].RemovePod(ctx, webs[i].ID))
		must(t, gone(t, m, a))
	}
}

// runPod runs a pod; what containerd says of it must be true.
func runPod(ctx context.Context, t *testing.T, m *Machine, c *CRI, name string, annotations map[string]string) *Pod {
	t.Helper()
	pod, err := c.RunPod(ctx, &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: name, Namespace: "shop"}, Annotations: annotations,
	})
	must(t, err)
	i, a := eth0(ctx, t, m, pod.Container)
	if a.Container != pod.ID {
		t.Errorf("%s is attached as %s, want %s", name, a, pod.ID)
	}
	for _, p := range i.Addrs {
		if !slices.Contains(pod.Addrs, p.Addr()) {
			t.Errorf("containerd says %v, %s has %v", pod.Addrs, name, i.Addrs)
		}
	}
	return pod
}

// testPodAnnotations asks for addresses, a MAC and labels as a pod does.
func testPodAnnotations(ctx context.Context, t *testing.T, m *Machine, c *CRI, far *Container) {
	want := Interface{MAC: []byte{2, 0x42, 0, 0, 0, 8}, Addrs: free(t, m, 101)}
	pod := runPod(ctx, t, m, c, "cri-asks", map[string]string{
		"weft/ips": join(want.Addrs), "weft/mac": want.MAC.String(), "weft/labels": "app=web,tier=front",
	})
	got, a := eth0(ctx, t, m, pod.Container)
	if !got.Equal(want) {
		t.Errorf("it has %v, want %v", got, want)
	}
	meet(ctx, t, pod.Container, far)
	r, err := record.Read(m.RunDir(), a)
	must(t, err)
	if r.Pod.String() != "shop/cri-asks" || r.Labels["app"] != "web" || r.Labels["tier"] != "front" {
		t.Errorf("recorded are pod %s and labels %v", r.Pod, r.Labels)
	}
	must(t, c.RemovePod(ctx, pod.ID))
	must(t, gone(t, m, a))
}

func join(addrs []netip.Prefix) string {
	return addrs[0].Addr().String() + "," + addrs[1].Addr().String()
}

// testVanishedNamespace takes a pod's namespace away before it is stopped:
// containerd says DEL with no namespace.
func testVanishedNamespace(ctx context.Context, t *testing.T, m *Machine, c *CRI) {
	pod := runPod(ctx, t, m, c, "cri-vanishes", nil)
	_, a := eth0(ctx, t, m, pod.Container)
	_, err := m.Run(ctx, "umount", "--lazy", pod.Netns)
	must(t, err)
	_, err = m.Run(ctx, "rm", pod.Netns)
	must(t, err)
	for range 2 {
		must(t, c.StopPod(ctx, pod.ID))
		must(t, gone(t, m, a))
	}
	must(t, c.RemovePod(ctx, pod.ID))
}

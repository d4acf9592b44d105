package runtimes

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// criNamespace is where containerd's CRI keeps its containers and images.
const criNamespace = "k8s.io"

// CRI speaks to containerd the way a kubelet does.
type CRI struct {
	conn   *grpc.ClientConn
	client cri.RuntimeServiceClient
}

// CRI connects to containerd's CRI. Close it.
func (c *Containerd) CRI() (*CRI, error) {
	conn, err := grpc.NewClient("unix://"+c.m.path(containerdSocket), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &CRI{conn, cri.NewRuntimeServiceClient(conn)}, nil
}

// Close ends the connection; pods run on.
func (c *CRI) Close() error { return c.conn.Close() }

// Pod is a sandbox and the one container in it.
type Pod struct {
	*Container // ID is the sandbox's
	Addrs      []netip.Addr
	// Netns is the file on the machine that stands for the pod's namespace.
	Netns string
}

// RunPod starts a sandbox and a container of the image in it. The caller fills
// in what it cares about: names, annotations, ports.
func (c *CRI) RunPod(ctx context.Context, config *cri.PodSandboxConfig) (*Pod, error) {
	name := config.GetMetadata().GetName()
	config.Metadata.Uid = rand.Text()
	config.Hostname = name
	// As a kubelet has it: one network for the pod, processes apart.
	namespaces := &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER}
	config.Linux = &cri.LinuxPodSandboxConfig{
		CgroupParent: "/kubepods", SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: namespaces},
	}
	sandbox, err := c.client.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
	if err != nil {
		return nil, fmt.Errorf("run pod %s: %w", name, err)
	}
	created, err := c.client.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: sandbox.PodSandboxId, SandboxConfig: config,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: "web"}, Image: &cri.ImageSpec{Image: Image},
			Envs:  []*cri.KeyValue{{Key: "NAME", Value: name}},
			Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: namespaces}},
		},
	})
	if err == nil {
		_, err = c.client.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: created.ContainerId})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("container of pod %s: %w", name, err), c.StopPod(ctx, sandbox.PodSandboxId))
	}
	pod := &Pod{Container: &Container{Name: name, ID: sandbox.PodSandboxId, exec: func(ctx context.Context, args ...string) (string, error) {
		return c.exec(ctx, created.ContainerId, args)
	}}}
	return pod, c.look(ctx, pod)
}

// look fills in what containerd says of the pod's network.
func (c *CRI) look(ctx context.Context, p *Pod) error {
	answer, err := c.client.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: p.ID, Verbose: true})
	if err != nil {
		return fmt.Errorf("status of pod %s: %w", p.Name, err)
	}
	network := answer.GetStatus().GetNetwork()
	all := []string{network.GetIp()}
	for _, more := range network.GetAdditionalIps() {
		all = append(all, more.GetIp())
	}
	for _, text := range all {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("status of pod %s: %w", p.Name, err)
		}
		p.Addrs = append(p.Addrs, a)
	}
	p.Netns, err = namespacePath(answer.GetInfo()["info"])
	return err
}

// StopPod stops a sandbox and takes its network away. It may be repeated.
func (c *CRI) StopPod(ctx context.Context, id string) error {
	_, err := c.client.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id})
	return err
}

// RemovePod removes a sandbox, stopped or not, and its containers.
func (c *CRI) RemovePod(ctx context.Context, id string) error {
	_, err := c.client.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id})
	return err
}

func (c *CRI) exec(ctx context.Context, container string, args []string) (string, error) {
	answer, err := c.client.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: container, Cmd: args, Timeout: int64(30 * time.Second / time.Second)})
	if err != nil {
		return "", err
	}
	if answer.GetExitCode() != 0 {
		return "", fmt.Errorf("%v: exit status %d: %s", args, answer.GetExitCode(), answer.GetStderr())
	}
	return string(answer.GetStdout()), nil
}

// namespacePath finds the network namespace in containerd's verbose status.
func namespacePath(info string) (string, error) {
	var status struct {
		RuntimeSpec struct {
			Linux struct {
				Namespaces []struct{ Type, Path string }
			}
		}
	}
	if err := json.Unmarshal([]byte(info), &status); err != nil {
		return "", fmt.Errorf("status of a sandbox: %w", err)
	}
	for _, ns := range status.RuntimeSpec.Linux.Namespaces {
		if ns.Type == "network" {
			return ns.Path, nil
		}
	}
	return "", errors.New("the sandbox has no network namespace")
}

package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	types "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/weft-net/weft/fabric"
)

// Pod is a namespace attached to a host the way a container runtime does it.
type Pod struct {
	*Namespace
	Name  string
	Host  *Host
	Addrs []netip.Addr // one per family at most, IPv4 first
	lab   *Lab
}

// Addr is the pod's address of family f, or the zero Addr.
func (p *Pod) Addr(f fabric.Family) netip.Addr {
	for _, a := range p.Addrs {
		if fabric.FamilyOf(a) == f {
			return a
		}
	}
	return netip.Addr{}
}

// conflist is the name that the agent gives the network's configuration.
const conflist = "10-weft.conflist"

// AddPod makes a namespace and attaches it with the plugin, configured as the
// agent on that host wrote it.
func (l *Lab) AddPod(ctx context.Context, h *Host, name string) (*Pod, error) {
	if !word.MatchString(name) || l.Pod(name) != nil || l.Host(name) != nil {
		return nil, fmt.Errorf("pod %q: the name is taken or no name", name)
	}
	n, err := makeNamespace(l.namespaceName("pod-"+name), l.spawn)
	if err != nil {
		return nil, err
	}
	p := &Pod{Namespace: n, Name: name, Host: h, lab: l}
	if err := p.attach(ctx); err != nil {
		n.close()
		return nil, errors.Join(fmt.Errorf("pod %s on %s: %w", name, h.Spec.Name, err), removeNamespace(n.Name))
	}
	l.mu.Lock()
	l.pods[name] = p
	l.mu.Unlock()
	return p, l.record(func(s *state) { s.Pods[name] = podState{Host: h.Spec.Name, Addrs: p.Addrs} })
}

// RemovePod detaches a pod and removes its namespace.
func (l *Lab) RemovePod(ctx context.Context, p *Pod) error {
	cni, list, rt, err := p.cni()
	if err == nil {
		err = cni.DelNetworkList(ctx, list, rt)
	}
	if err != nil {
		return fmt.Errorf("detach pod %s: %w", p.Name, err)
	}
	p.close()
	l.mu.Lock()
	delete(l.pods, p.Name)
	l.mu.Unlock()
	return errors.Join(removeNamespace(p.Namespace.Name), l.record(func(s *state) { delete(s.Pods, p.Name) }))
}

func (p *Pod) attach(ctx context.Context) error {
	cni, list, rt, err := p.cni()
	if err != nil {
		return err
	}
	res, err := cni.AddNetworkList(ctx, list, rt)
	if err != nil {
		return err
	}
	result, err := types.GetResult(res)
	if err != nil {
		return err
	}
	p.Addrs = nil
	for _, ip := range result.IPs {
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			p.Addrs = append(p.Addrs, a.Unmap())
		}
	}
	if len(p.Addrs) == 2 && p.Addrs[1].Is4() {
		p.Addrs[0], p.Addrs[1] = p.Addrs[1], p.Addrs[0]
	}
	return nil
}

// Check runs the plugin's CHECK.
func (p *Pod) Check(ctx context.Context) error {
	cni, list, rt, err := p.cni()
	if err != nil {
		return err
	}
	return cni.CheckNetworkList(ctx, list, rt)
}

// cni prepares a call of the plugin.
func (p *Pod) cni() (*libcni.CNIConfig, *libcni.NetworkConfigList, *libcni.RuntimeConf, error) {
	list, err := libcni.ConfListFromFile(filepath.Join(p.Host.ConfDir(), conflist))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("the agent's conflist: %w", err)
	}
	bin, err := p.lab.pluginDir()
	if err != nil {
		return nil, nil, nil, err
	}
	rt := &libcni.RuntimeConf{ContainerID: p.lab.Name + "-" + p.Name, NetNS: p.Path(), IfName: "eth0"}
	cache := filepath.Join(p.Host.dir(), "cni-cache")
	return libcni.NewCNIConfigWithCacheDir([]string{bin}, cache, &pluginExec{host: p.Host}), list, rt, nil
}

// pluginDir holds the plugin under the name by which configurations call it.
func (l *Lab) pluginDir() (string, error) {
	dir := filepath.Join(l.Dir(), "cni-bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	err := os.Symlink(l.bin.CNI, filepath.Join(dir, "weft"))
	if err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, nil
}

// pluginExec runs plugins in a host's namespace; it implements invoke.Exec.
type pluginExec struct {
	version.PluginDecoder
	host *Host
}

// ExecPlugin runs the plugin once. On failure the error document on its
// standard output is the error.
func (e *pluginExec) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environ, bytes.NewReader(stdin), &out, &errs
	if err := e.host.Start(cmd); err != nil {
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s %s", filepath.Base(path), err, bytes.TrimSpace(out.Bytes()), lastLine(errs.String()))
	}
	return out.Bytes(), nil
}

// FindInPath finds a plugin.
func (e *pluginExec) FindInPath(plugin string, paths []string) (string, error) {
	return invoke.FindInPath(plugin, paths)
}

// Scratch is a namespace that belongs to no pod: for calling plugins by hand.
type Scratch struct {
	*Namespace
}

// Scratch makes an empty namespace. Remove it.
func (h *Host) Scratch() (*Scratch, error) {
	n, err := makeNamespace(h.lab.namespaceName("scratch-"+strings.ToLower(rand.Text())[:8]), h.spawn)
	if err != nil {
		return nil, err
	}
	return &Scratch{n}, nil
}

// Remove removes the namespace.
func (s *Scratch) Remove() error {
	s.close()
	return removeNamespace(s.Name)
}

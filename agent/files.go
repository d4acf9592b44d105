package agent

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

// earlierSubnets are those that an earlier life of this agent had, by its node
// file: their pods may still be here.
func earlierSubnets(runDir string) []netip.Prefix {
	file, err := nodefile.Read(runDir)
	if err != nil {
		return nil // none, or one that the plugin cannot use either
	}
	return file.Subnets
}

// subnetEnv is flannel's file, for scripts and plugins that read it.
const subnetEnv = "subnet.env"

// nodeFiles writes what the CNI plugin and others on this host read. Each file
// is replaced in one step, and only when its content changes.
type nodeFiles struct {
	node    string
	runDir  string
	cni     config.CNI
	written *nodefile.File // nil: look again
}

// forget makes the next write check what is on disk.
func (f *nodeFiles) forget() { f.written = nil }

// write brings the files up to date. They appear only once it is known how the
// lease stands: the plugin takes their absence as "try again later", and what an
// earlier life of the agent left stays meanwhile, so that pods come and go. A
// node that has lost its lease keeps its pods and offers nothing to new ones.
func (f *nodeFiles) write(w *wanted, in inputs) error {
	if in.lease.State == "" || in.lease.State == store.Waiting {
		return nil
	}
	draining, full, err := w.withheld(in)
	if err != nil {
		return err
	}
	file := &nodefile.File{
		Version: nodefile.Version, Node: f.node, NodeID: w.input.Self,
		Networks: w.input.Spec.Networks(), Subnets: w.input.Subnets, Draining: draining, Full: full,
		Bridge: backends.BridgeName, BridgeMAC: backends.BridgeMAC(w.input.Self), MTU: backends.PodMTU(w.input),
	}
	if reflect.DeepEqual(file, f.written) {
		return nil
	}
	if err := file.Write(f.runDir); err != nil {
		return fmt.Errorf("node file for the CNI plugin: %w", err)
	}
	if in.lease.State == store.Leased { // what says that pods can come waits until they can
		if err := f.invite(file, w.input.Spec); err != nil {
			return err
		}
	}
	f.written = file
	return nil
}

// withheld are the subnets that new pods get no address of, and why there are
// no further ones (nodefile.File). A leased subnet is offered once its slot file
// is open, and no more once it is closed.
func (w *wanted) withheld(in inputs) (draining []netip.Prefix, full fabric.PerFamily[string], err error) {
	switch g := in.growth; {
	case in.lease.State != store.Leased:
		return w.input.Subnets, full, nil
	case g == nil:
		return w.draining, full, nil
	case g.known:
		closed := func(p netip.Prefix) bool { return slices.Contains(w.draining, p) || !slices.Contains(g.open, p) }
		for _, p := range w.input.Subnets {
			if closed(p) {
				draining = append(draining, p)
			}
		}
		return draining, g.full, nil
	case g.trouble != "":
		return nil, full, fmt.Errorf("slot files: %s", g.trouble)
	}
	return nil, full, errNotOpen
}

// errNotOpen is the first moment's: slot files take the lock of one.
var errNotOpen = errors.New("the slot files are not open yet")

// withhold offers nothing of what an earlier life of this agent had leased:
// another living host is this node.
func (f *nodeFiles) withhold() error {
	file, err := nodefile.Read(f.runDir)
	if err != nil || reflect.DeepEqual(file.Draining, file.Subnets) {
		return nil // nothing that the plugin could use
	}
	file.Draining = file.Subnets
	if err := file.Write(f.runDir); err != nil {
		return fmt.Errorf("node file for the CNI plugin: %w", err)
	}
	return nil
}

// invite writes flannel's file and, where the operator asked for it, the one
// that tells container runtimes to call the plugin.
func (f *nodeFiles) invite(file *nodefile.File, spec *fabric.Spec) error {
	if err := replace(filepath.Join(f.runDir, subnetEnv), envFile(file, spec)); err != nil {
		return fmt.Errorf("%s: %w", subnetEnv, err)
	}
	if !f.cni.Write {
		return nil
	}
	if err := os.MkdirAll(f.cni.ConfDir, 0o755); err != nil {
		return fmt.Errorf("directory for CNI configuration: %w", err)
	}
	if err := replace(filepath.Join(f.cni.ConfDir, "10-weft.conflist"), nodefile.Conflist(f.runDir)); err != nil {
		return fmt.Errorf("CNI configuration: %w", err)
	}
	return nil
}

// envFile renders flannel's subnet.env. It knows one subnet per family: the
// first that takes new pods.
func envFile(file *nodefile.File, spec *fabric.Spec) []byte {
	var b bytes.Buffer
	for _, network := range file.Networks {
		prefix := "FLANNEL_"
		if network.Addr().Is6() {
			prefix = "FLANNEL_IPV6_"
		}
		for _, s := range file.Subnets {
			if s.Addr().Is4() == network.Addr().Is4() && !slices.Contains(file.Draining, s) {
				fmt.Fprintf(&b, "%sNETWORK=%s\n%sSUBNET=%s\n", prefix, network, prefix, netip.PrefixFrom(nodefile.Gateway(s), s.Bits()))
				break
			}
		}
	}
	fmt.Fprintf(&b, "FLANNEL_MTU=%d\nFLANNEL_IPMASQ=%t\n", file.MTU, spec.Masquerade.Enabled)
	return b.Bytes()
}

// replace writes a file in one step and not at all where it is right already.
func replace(path string, data []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, data) {
		return nil
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(tmp)))
	}
	return os.Rename(tmp, path)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

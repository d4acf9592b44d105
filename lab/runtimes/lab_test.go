package runtimes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/lab"
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if os.Getenv(OCIRuntimeEnv) != "" {
		fmt.Fprintln(os.Stderr, OCIRuntime()) // it returns only when it fails
		return 1
	}
	defer func() { os.RemoveAll(binDir) }()
	return m.Run()
}

// binDir holds the programs that the tests run; made at first use.
var binDir string

var makeBinDir = sync.OnceValues(func() (string, error) {
	var err error
	binDir, err = os.MkdirTemp("", "weft-runtimes-bin-")
	return binDir, err
})

var binaries = sync.OnceValues(func() (lab.Binaries, error) {
	if dir := os.Getenv("WEFT_TEST_BIN"); dir != "" { // a release, say
		return lab.BinariesIn(dir), nil
	}
	dir, err := makeBinDir()
	if err != nil {
		return lab.Binaries{}, err
	}
	return lab.BuildBinaries(context.Background(), dir)
})

// cnitool compiles cnitool at first use.
var cnitool = sync.OnceValues(func() (string, error) {
	dir, err := makeBinDir()
	if err != nil {
		return "", err
	}
	return BuildCnitool(context.Background(), dir)
})

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// boot brings up a lab with agents on these hosts and makes machines of them,
// each with the image.
func boot(t *testing.T, hosts ...lab.HostSpec) (context.Context, *lab.Lab, []*Machine) {
	t.Helper()
	testns.Root(t)
	bin, err := binaries()
	must(t, err)
	l, err := lab.New(lab.Options{Topology: lab.Topology{Hosts: hosts}, Binaries: bin})
	must(t, err)
	t.Cleanup(func() { must(t, l.Down()) })
	ctx, cancel := context.WithTimeoutCause(t.Context(), 4*time.Minute, fmt.Errorf("%s took too long", t.Name()))
	t.Cleanup(cancel)
	must(t, l.Up(ctx))
	var machines []*Machine
	for _, h := range l.Hosts {
		m, err := Boot(l, h, bin.CNI)
		must(t, err)
		t.Cleanup(func() {
			if t.Failed() {
				showLogs(t, m)
			}
			must(t, m.Halt())
		})
		must(t, m.writeImage())
		machines = append(machines, m)
	}
	return ctx, l, machines
}

// showLogs puts into the test's log what the host's agent and daemons have to
// say.
func showLogs(t *testing.T, m *Machine) {
	logs, _ := filepath.Glob(filepath.Join(m.dir(), "*.log"))
	for _, name := range append(logs, m.Agent.LogFile()) {
		text, _ := os.ReadFile(name)
		t.Logf("%s:\n%s", name, text[max(0, len(text)-3000):])
	}
}

// holder returns the attachment that has these addresses, and fails the test
// unless they are one attachment's, with an interface on the host.
func holder(t *testing.T, m *Machine, addrs []netip.Prefix) ipam.Attachment {
	t.Helper()
	if len(addrs) != len(fabric.Families) || !addrs[0].Addr().Is4() || addrs[1].Addr().Is4() {
		t.Fatalf("it has %v, want an address of each family", addrs)
	}
	var found []ipam.Attachment
	for _, slot := range slots(t, m) {
		if slot.InUse && slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr() == slot.Addr }) {
			found = append(found, slot.Attachment)
		}
	}
	if len(found) != len(addrs) || found[0] != found[1] {
		t.Fatalf("%v are those of %v", addrs, found)
	}
	if host := look(t, m); !host.Links[found[0].HostInterface()] {
		t.Errorf("%s has no interface on the host", found[0])
	}
	return found[0]
}

// gone is nil when nothing of the attachment is left on the host.
func gone(t *testing.T, m *Machine, a ipam.Attachment) error {
	t.Helper()
	var errs []error
	for _, slot := range slots(t, m) {
		if slot.InUse && slot.Attachment == a {
			errs = append(errs, fmt.Errorf("%s has %s", a, slot.Addr))
		}
	}
	if look(t, m).Links[a.HostInterface()] {
		errs = append(errs, fmt.Errorf("%s has %s", a, a.HostInterface()))
	}
	for _, g := range guards(t, m) {
		if g.Port == a.HostInterface() {
			errs = append(errs, fmt.Errorf("%s has a guard", a))
		}
	}
	if r, err := record.Read(m.RunDir(), a); err == nil {
		errs = append(errs, fmt.Errorf("%s has a record: %+v", a, r))
	}
	return errors.Join(errs...)
}

func slots(t *testing.T, m *Machine) []ipam.Slot {
	t.Helper()
	s, err := ipam.NewSlots(m.RunDir(), ipam.Options{})
	must(t, err)
	list, err := s.List(t.Context())
	must(t, err)
	return list
}

func guards(t *testing.T, m *Machine) (all []plumb.Guard) {
	t.Helper()
	must(t, m.Do(func() (err error) {
		all, err = plumb.Guards()
		return err
	}))
	return all
}

func look(t *testing.T, m *Machine) (host plumb.Host) {
	t.Helper()
	must(t, m.Do(func() (err error) {
		host, err = plumb.ReadHost()
		return err
	}))
	return host
}

// free are the n-th addresses of the node's subnets, one per family: numbers
// that the allocator does not get to by itself in a test.
func free(t *testing.T, m *Machine, n int) []netip.Prefix {
	t.Helper()
	node, err := nodefile.Read(m.RunDir())
	must(t, err)
	out := make([]netip.Prefix, len(fabric.Families))
	for _, subnet := range node.Subnets {
		addr := subnet.Addr()
		for range n {
			addr = addr.Next()
		}
		i := slices.Index(fabric.Families[:], fabric.FamilyOf(addr))
		out[i] = netip.PrefixFrom(addr, subnet.Bits())
	}
	return out
}

// eth0 is what a container has, which must be what the plugin gave it.
func eth0(ctx context.Context, t *testing.T, m *Machine, c *Container) (Interface, ipam.Attachment) {
	t.Helper()
	i, err := c.Interface(ctx, "eth0")
	must(t, err)
	return i, holder(t, m, i.Addrs)
}

// meet fails the test unless both containers reach each other in both families.
func meet(ctx context.Context, t *testing.T, a, b *Container) {
	t.Helper()
	for _, way := range [][2]*Container{{a, b}, {b, a}} {
		to, err := way[1].Interface(ctx, "eth0")
		must(t, err)
		for _, p := range to.Addrs {
			reaches(ctx, t, way[0], p.Addr(), way[1].Name)
		}
	}
}

// reaches fails the test unless the web server with that name answers.
func reaches(ctx context.Context, t *testing.T, from *Container, to netip.Addr, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	got, err := from.Reach(ctx, netip.AddrPortFrom(to, 80))
	if err != nil || got != name {
		t.Errorf("%s asked %s: %q, %v; want %q", from.Name, to, got, err, name)
	}
}

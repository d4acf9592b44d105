// Package command is what people type: the subcommands of weft-lab over
// package lab. Only cmd/weft-lab calls it.
package command

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/internal/version"
	"github.com/weft-net/weft/lab"
)

// defaultName is the lab that commands mean when none is named.
const defaultName = "lab"

// New returns the command tree of weft-lab.
func New() *cobra.Command {
	root := &cobra.Command{
		Use:   "weft-lab",
		Short: "A whole fabric on one machine, out of network namespaces",
		Long: "weft-lab builds hosts, racks, switches and an etcd server out of network namespaces\n" +
			"on this machine, runs the real weftd on each host and attaches pods with the real\n" +
			"CNI plugin. Nothing of it is connected to the machine's own network.",
		Version: version.String(), SilenceUsage: true, SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	name := root.PersistentFlags().String("name", defaultName, "the lab's `name`, where there are several")
	bin := root.PersistentFlags().String("bin", "", "`directory` of weftd, weft and weft-cni (default: where weft-lab is)")
	f := &flags{name: name, bin: bin}
	root.AddCommand(upCommand(f), statusCommand(f), execCommand(f), podCommand(f), downCommand(f), demoCommand(f), demoBGPCommand(f), demoMigrateCommand(f), benchCommand(f), benchBGPCommand(f), benchPathsCommand(f), benchCNICommand(f), floorCommand())
	return root
}

// flags are the ones that all subcommands share.
type flags struct{ name, bin *string }

// binaries finds the programs and says which one is missing.
func (f *flags) binaries() (lab.Binaries, error) {
	dir := *f.bin
	if dir == "" {
		self, err := os.Executable()
		if err != nil {
			return lab.Binaries{}, err
		}
		dir = filepath.Dir(self)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return lab.Binaries{}, err
	}
	b := lab.BinariesIn(dir)
	for _, path := range []string{b.Weftd, b.Weft, b.CNI, b.Lab} {
		if _, err := os.Stat(path); err != nil {
			return b, fmt.Errorf("%w (make build puts it there, --bin names another place)", err)
		}
	}
	return b, nil
}

// load opens the running lab.
func (f *flags) load() (*lab.Lab, error) {
	if err := lab.EnterHeldNamespace(false); err != nil {
		return nil, err
	}
	return lab.Load(*f.name)
}

// topology reads the file, or gives the default with two pods on each host.
func topology(file string) (lab.Topology, error) {
	if file != "" {
		return lab.ReadTopology(file)
	}
	var t lab.Topology
	if err := t.Complete(); err != nil {
		return t, err
	}
	for _, h := range t.Hosts {
		t.Pods = append(t.Pods, lab.PodSpec{Name: h.Name + "-a", Host: h.Name}, lab.PodSpec{Name: h.Name + "-b", Host: h.Name})
	}
	return t, nil
}

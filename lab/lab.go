package lab

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options say what to build.
type Options struct {
	Name     string // lower-case letters and digits, at most 16; default a random one
	Topology Topology
	Binaries Binaries
	// Stay makes a lab that outlives this process. Otherwise its processes
	// die with this one, and the next lab sweeps the rest.
	Stay bool
}

// Lab is a set of hosts and what is between them. Its methods may be called
// from several goroutines; starting and stopping one thing is for one.
type Lab struct {
	Name  string
	Topo  Topology
	Hosts []*Host
	Etcd  *Etcd

	bin     Binaries
	spawn   *spawner
	closing sync.Once
	spines  []*Switch
	outside *Namespace
	tors    []*Switch // in the order of Topo.Racks

	mu    sync.Mutex
	state *state          // guarded by mu
	pods  map[string]*Pod // guarded by mu
	frr   *spawner        // starts FRR's daemons; nil: none yet. Guarded by mu
}

var labName = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}$`)

// New sweeps abandoned labs, then builds namespaces and underlay. Nothing
// runs in them yet: see Up, or Etcd.Start, Apply and Host.Agent.
func New(o Options) (_ *Lab, err error) {
	if o.Name == "" {
		o.Name = "x" + strings.ToLower(rand.Text())[:9]
	}
	if !labName.MatchString(o.Name) {
		return nil, fmt.Errorf("lab name %q: want at most 16 lower-case letters and digits, a letter first", o.Name)
	}
	if err := o.Topology.Complete(); err != nil {
		return nil, fmt.Errorf("topology: %w", err)
	}
	if _, err := Sweep(); err != nil {
		return nil, err
	}
	owner, err := identify(os.Getpid())
	if err != nil {
		return nil, err
	}
	s := &state{
		Name: o.Name, Owner: owner, Stay: o.Stay, Created: time.Now(), Topology: o.Topology, Binaries: o.Binaries,
		Processes: map[string]processID{}, Pods: map[string]podState{},
	}
	if err := claim(s); err != nil {
		return nil, err
	}
	l := newLab(s)
	if err := l.build(); err != nil {
		return nil, errors.Join(err, l.Down())
	}
	return l, nil
}

// Load opens a lab that another process made. Changes to it are for one
// process at a time.
func Load(name string) (*Lab, error) {
	s, err := readState(name)
	if err != nil {
		return nil, err
	}
	if s.abandoned() {
		return nil, fmt.Errorf("lab %s: its process is gone (weft-lab down --name %s removes the rest)", name, name)
	}
	l := newLab(s)
	if err := l.open(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func newLab(s *state) *Lab {
	l := &Lab{
		Name: s.Name, Topo: s.Topology, bin: s.Binaries, spawn: newSpawner(!s.Stay),
		state: s, pods: map[string]*Pod{},
	}
	if l.state.Processes == nil {
		l.state.Processes = map[string]processID{}
	}
	if l.state.Pods == nil {
		l.state.Pods = map[string]podState{}
	}
	return l
}

// Dir is where the lab keeps its files: logs, configuration, etcd's data.
func (l *Lab) Dir() string { return labDir(l.Name) }

// Host returns the host with that name, or nil.
func (l *Lab) Host(name string) *Host {
	i := slices.IndexFunc(l.Hosts, func(h *Host) bool { return h.Spec.Name == name })
	if i < 0 {
		return nil
	}
	return l.Hosts[i]
}

// Pod returns the pod with that name, or nil.
func (l *Lab) Pod(name string) *Pod {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pods[name]
}

// Pods returns all pods, by name.
func (l *Lab) Pods() []*Pod {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*Pod
	for _, name := range slices.Sorted(maps.Keys(l.pods)) {
		out = append(out, l.pods[name])
	}
	return out
}

// Outside is a host that does not belong to the fabric; it hangs off the
// spine and knows no pod network.
func (l *Lab) Outside() *Namespace { return l.outside }

// namespaceName is the name of one of the lab's namespaces.
func (l *Lab) namespaceName(what string) string { return namespacePrefix(l.Name) + what }

// record changes the lab's record and writes it.
func (l *Lab) record(change func(*state)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l.state)
	return l.state.write()
}

// Close lets go of the lab. One that stays runs on; the processes of any
// other end here, and its remains are for Down or Sweep.
func (l *Lab) Close() {
	l.closing.Do(func() {
		for _, n := range l.namespaces() {
			n.close()
		}
		l.spawn.close()
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.frr != nil {
			l.frr.close()
		}
	})
}

// Down stops everything and removes all traces. It may be repeated.
func (l *Lab) Down() error {
	l.Close()
	return lockedState(func() error { return destroy(l.Name) })
}

// Remove takes down a lab by its name alone, whatever state it is in.
func Remove(name string) error {
	if _, err := os.Stat(labDir(name)); err != nil || filepath.Base(name) != name {
		return fmt.Errorf("there is no lab %q", name)
	}
	return lockedState(func() error { return destroy(name) })
}

// namespaces lists all namespaces that are open.
func (l *Lab) namespaces() []*Namespace {
	out := []*Namespace{l.outside}
	for _, s := range l.Switches() {
		out = append(out, s.Namespace)
	}
	for _, h := range l.Hosts {
		out = append(out, h.Namespace)
	}
	if l.Etcd != nil {
		for _, m := range l.Etcd.members {
			out = append(out, m.ns)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pods {
		out = append(out, p.Namespace)
	}
	return slices.DeleteFunc(out, func(n *Namespace) bool { return n == nil })
}

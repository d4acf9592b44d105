// Package nodefile is the contract between the agent and the CNI plugin: one
// small JSON file (by default /run/weft/node.json) that says what a pod
// attached on this host gets. The agent writes it, the plugin reads it; either
// may be of a newer version, so unknown fields are ignored. Nothing is linked
// but the standard library and a reader of JSON.
package nodefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/rawjson"
)

// Name is the file's name in the agent's run directory.
const Name = "node.json"

// Version is the version that this build writes and the newest that it reads.
const Version = 1

// File is the content of the node file.
type File struct {
	Version int           `json:"version"`
	Node    string        `json:"node"`
	NodeID  fabric.NodeID `json:"nodeID"`
	// Networks are the fabric's networks: what pods reach without masquerade.
	Networks []netip.Prefix `json:"networks"`
	// Subnets are leased by this node; pods get addresses from them. The first
	// address of each is the bridge's and the pods' gateway.
	Subnets []netip.Prefix `json:"subnets"`
	// Draining subnets keep their pods and get no new ones.
	Draining []netip.Prefix `json:"draining,omitempty"`
	// Full says why the node will not have more addresses of a family when those
	// of Subnets are all in use; empty: the agent leases a further subnet then.
	Full      fabric.PerFamily[string] `json:"full,omitzero"`
	Bridge    string                   `json:"bridge"`
	BridgeMAC fabric.MAC               `json:"bridgeMAC"`
	MTU       int                      `json:"mtu"` // of the bridge and the pods' interfaces, bytes
}

// members are all fields by their names.
func (f *File) members() []rawjson.Member {
	return []rawjson.Member{
		{Name: "version", To: &f.Version}, {Name: "node", To: &f.Node}, {Name: "nodeID", To: &f.NodeID},
		{Name: "networks", To: &f.Networks}, {Name: "subnets", To: &f.Subnets}, {Name: "draining", To: &f.Draining},
		{Name: "full", To: &f.Full}, {Name: "bridge", To: &f.Bridge}, {Name: "bridgeMAC", To: &f.BridgeMAC}, {Name: "mtu", To: &f.MTU},
	}
}

// Gateway is the address of the bridge in a subnet: the first after the
// subnet's own.
func Gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// Read reads and checks the node file in runDir.
func Read(runDir string) (*File, error) {
	path := filepath.Join(runDir, Name)
	data, err := readAll(path)
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: path, Err: err}
	}
	f, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// maxSize bounds the node file, in bytes; one with a thousand subnets has a
// twentieth of it.
const maxSize = 1 << 20

// readAll is os.ReadFile in four system calls instead of ten: every pod waits
// for it.
func readAll(path string) (data []byte, err error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, syscall.Close(fd)) }()
	for buf := make([]byte, 4096); len(data) <= maxSize; {
		n, err := syscall.Read(fd, buf)
		if n <= 0 || err != nil {
			return data, err
		}
		data = append(data, buf[:n]...)
	}
	return nil, syscall.EFBIG
}

// Parse decodes and checks a node file.
func Parse(data []byte) (*File, error) {
	var f File
	members, err := rawjson.Parse(data)
	if err == nil {
		err = members.Decode(f.members()...)
	}
	if err != nil {
		return nil, err
	}
	if f.Version < 1 || f.Version > Version {
		return nil, fmt.Errorf("version %d is not one this build reads (1 to %d)", f.Version, Version)
	}
	if f.Bridge == "" || f.MTU < 576 || f.MTU > 65535 {
		return nil, fmt.Errorf("bridge %q, mtu %d: not a usable node file", f.Bridge, f.MTU)
	}
	for _, p := range f.Subnets {
		if p != p.Masked() || p.Addr().BitLen()-p.Bits() < 2 {
			return nil, fmt.Errorf("subnet %s has no room for pods or host bits set", p)
		}
	}
	return &f, nil
}

// Write replaces the node file in runDir in one step.
func (f *File) Write(runDir string) error {
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(runDir, Name)
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		_ = os.Remove(tmp) // a part of a file on a full disk
		return err
	}
	return os.Rename(tmp, path)
}

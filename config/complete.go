package config

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"

	"github.com/weft-net/weft/fabric"
)

// complete fills in the defaults that depend on other keys and checks what
// several keys say together.
func complete(n *Node) *problem {
	if err := checkUnderlay(n.Underlay); err != nil {
		return err
	}
	return completeEtcd(&n.Etcd)
}

func checkUnderlay(u Underlay) *problem {
	switch {
	case u.Interface != "" && u.Address.IsValid():
		return problemf("underlay.address", "underlay.interface is set too, want one of them")
	case u.Interface != "" && u.Reach.IsValid():
		return problemf("underlay.reach", "underlay.interface is set too, want one of them")
	case u.Address.IsValid() && u.Reach.IsValid():
		return problemf("underlay.reach", "underlay.address is set too, want one of them")
	}
	return nil
}

func completeEtcd(e *Etcd) *problem {
	switch {
	case e.TLS.Cert != "" && e.TLS.Key == "":
		return problemf("etcd.tls.cert", "etcd.tls.key is not set, a certificate needs its key")
	case e.TLS.Key != "" && e.TLS.Cert == "":
		return problemf("etcd.tls.key", "etcd.tls.cert is not set, a key needs its certificate")
	case e.Username != "" && e.PasswordFile == "":
		return problemf("etcd.username", "etcd.passwordFile is not set, a user needs a password")
	case e.PasswordFile != "" && e.Username == "":
		return problemf("etcd.passwordFile", "etcd.username is not set, a password needs its user")
	}
	scheme := "http://"
	if e.TLS.Any() {
		scheme = "https://"
	}
	if len(e.Endpoints) == 0 {
		e.Endpoints = []string{"127.0.0.1:2379"}
	}
	for i, s := range e.Endpoints {
		if !strings.Contains(s, "://") {
			e.Endpoints[i] = scheme + s
		}
		if e.TLS.Any() && strings.HasPrefix(s, "http://") {
			return problemf("etcd.endpoints", "%s is not https, but etcd.tls is set", s)
		}
	}
	return nil
}

// host is where the defaults come from that identify a node.
type host struct {
	name      func() (string, error)
	machineID string // a file
}

var thisHost = host{name: os.Hostname, machineID: "/etc/machine-id"}

// identify fills in the node's name and id.
func (h host) identify(n *Node) *problem {
	if n.NodeName == "" {
		name, err := h.name()
		if err != nil {
			return problemf("nodeName", "is not set, and the host has no name: %v", err)
		}
		if n.NodeName, err = parseNodeName(strings.ToLower(name)); err != nil {
			return problemf("nodeName", "is not set, and the host's name will not do: %v", err)
		}
	}
	if n.NodeID == "" {
		id, err := deriveNodeID(h.machineID)
		if err != nil {
			return err
		}
		n.NodeID = id
	}
	return nil
}

// deriveNodeID makes an id out of the machine id. The latter is confidential:
// machine-id(5) asks for a keyed hash that is different for each application
// (what sd_id128_get_machine_app_specific does).
func deriveNodeID(file string) (fabric.NodeID, *problem) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", problemf("nodeID", "is not set, and there is no machine id to derive it from: %v", err)
	}
	text := strings.TrimSpace(string(data))
	id, err := hex.DecodeString(text)
	if err != nil || len(id) != 16 {
		return "", problemf("nodeID", "is not set, and %s holds no machine id (systemd-machine-id-setup makes one)", file)
	}
	h := hmac.New(sha256.New, id)
	h.Write([]byte("weft node id"))
	return fabric.NodeID(hex.EncodeToString(h.Sum(nil)[:16])), nil
}

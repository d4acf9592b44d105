package config

import (
	"strings"
	"time"

	"github.com/weft-net/weft/fabric"
)

// key is one setting of the node's file. This table is the only place that
// lists them: the file's keys, the environment variables, the flags and their
// help all follow from it.
type key struct {
	path string // in the file, like "etcd.tls.ca"
	kind string // of value, shown in the help
	help string // with the default, where it is not a constant
	// set parses the text of a value and stores it. A list's text is its
	// items joined by commas, as in a flag or an environment variable.
	set func(*Node, string) error
}

var keys = []key{
	{"nodeName", "NAME", "name of this host in the fabric (default: the host name)",
		field(func(n *Node) *string { return &n.NodeName }, parseNodeName)},
	{"nodeID", "ID", "what the fabric knows this host by for ever (default: derived from /etc/machine-id)",
		field(func(n *Node) *fabric.NodeID { return &n.NodeID }, parseNodeID)},
	{"labels", listKind, "what BGP's objects pick hosts by, like rack=r1,role=reflector",
		field(func(n *Node) *map[string]string { return &n.Labels }, parseLabels)},
	{"etcd.endpoints", listKind, "etcd servers, separated by commas (default: the one on 127.0.0.1:2379)",
		field(func(n *Node) *[]string { return &n.Etcd.Endpoints }, parseEndpoints)},
	{"etcd.prefix", "PATH", "where the fabric's records begin (default: /weft/v1)",
		field(func(n *Node) *string { return &n.Etcd.Prefix }, parsePrefix)},
	{"etcd.tls.ca", "FILE", "certificates of the authorities that sign the servers'",
		field(func(n *Node) *string { return &n.Etcd.TLS.CA }, parseFile)},
	{"etcd.tls.cert", "FILE", "this client's certificate",
		field(func(n *Node) *string { return &n.Etcd.TLS.Cert }, parseFile)},
	{"etcd.tls.key", "FILE", "this client's private key",
		field(func(n *Node) *string { return &n.Etcd.TLS.Key }, parseFile)},
	{"etcd.username", "NAME", "user, where etcd asks for one",
		field(func(n *Node) *string { return &n.Etcd.Username }, parseText)},
	{"etcd.passwordFile", "FILE", "file that holds the user's password",
		field(func(n *Node) *string { return &n.Etcd.PasswordFile }, parseFile)},
	{"etcd.dialTimeout", "DURATION", "how long one attempt to connect may take (default: 5s)",
		field(func(n *Node) *time.Duration { return &n.Etcd.DialTimeout }, parseTimeout)},
	{"underlay.interface", "NAME", "interface that faces the other hosts (default: the default route's)",
		field(func(n *Node) *string { return &n.Underlay.Interface }, parseInterface)},
	{"underlay.address", "IP", "this host's address towards the others, instead of an interface",
		field(func(n *Node) *addr { return &n.Underlay.Address }, parseAddr)},
	{"underlay.reach", "IP", "use the interface that reaches this address, instead of naming one",
		field(func(n *Node) *addr { return &n.Underlay.Reach }, parseAddr)},
	{"runDir", "DIR", "control socket, node file and pods' addresses (default: /run/weft)",
		field(func(n *Node) *string { return &n.RunDir }, parsePath)},
	{"stateDir", "DIR", "the last good snapshot of the fabric (default: /var/lib/weft)",
		field(func(n *Node) *string { return &n.StateDir }, parsePath)},
	{"bgp.file", "FILE", "BGP objects that override the fabric's on this host (default: /etc/weft/bgp.yaml)",
		field(func(n *Node) *string { return &n.BGPFile }, parsePath)},
	{"cni.confDir", "DIR", "where container runtimes look for networks (default: /etc/cni/net.d)",
		field(func(n *Node) *string { return &n.CNI.ConfDir }, parsePath)},
	{"cni.write", boolKind, "write 10-weft.conflist there (default: false)",
		field(func(n *Node) *bool { return &n.CNI.Write }, parseBool)},
	{"listen", "HOST:PORT", "metrics and health (default: 127.0.0.1:9479)",
		field(func(n *Node) *string { return &n.Listen }, parseHostPort)},
	{"log.level", "LEVEL", "error, warn, info, debug or trace (default: info)",
		field(func(n *Node) *string { return &n.Log.Level }, oneOf("error", "warn", "info", "debug", "trace"))},
	{"log.format", "FORMAT", "text or json (default: text)",
		field(func(n *Node) *string { return &n.Log.Format }, oneOf("text", "json"))},
}

const (
	listKind = "LIST" // may be a list in the file
	boolKind = "BOOL" // a flag that needs no value
)

func field[T any](at func(*Node) *T, parse func(string) (T, error)) func(*Node, string) error {
	return func(n *Node, text string) error {
		v, err := parse(text)
		if err == nil {
			*at(n) = v
		}
		return err
	}
}

// words splits a path at its dots and capitals: "etcd.tls.ca", "nodeID".
func words(path string) []string {
	var b strings.Builder
	for i, c := range path {
		isUpper := 'A' <= c && c <= 'Z'
		if isUpper && i > 0 && !('A' <= path[i-1] && path[i-1] <= 'Z') {
			b.WriteByte('.')
		}
		b.WriteRune(c)
	}
	return strings.Split(strings.ToLower(b.String()), ".")
}

// flag is the key's flag without its dashes, like "etcd-tls-ca".
func (k key) flag() string { return strings.Join(words(k.path), "-") }

// env is the key's environment variable, like "WEFT_ETCD_TLS_CA".
func (k key) env() string {
	return "WEFT_" + strings.ToUpper(strings.Join(words(k.path), "_"))
}

func keyAt(path string) (key, bool) {
	for _, k := range keys {
		if k.path == path {
			return k, true
		}
	}
	return key{}, false
}

// isSection reports whether a path is the beginning of some key's.
func isSection(path string) bool {
	for _, k := range keys {
		if strings.HasPrefix(k.path, path+".") {
			return true
		}
	}
	return false
}

// suggestKey returns the key that an unknown one was probably meant to be: one
// with nearly the same name in the same section, or with the same in another.
func suggestKey(path string) string {
	section, name := "", path
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		section, name = path[:i+1], path[i+1:]
	}
	var siblings []string
	for _, k := range keys {
		if rest, ok := strings.CutPrefix(k.path, section); ok {
			sibling, _, _ := strings.Cut(rest, ".")
			siblings = append(siblings, sibling)
		}
	}
	if n := nearest(name, siblings); n != "" {
		return section + n
	}
	for _, k := range keys {
		if strings.HasSuffix(k.path, "."+name) {
			return k.path
		}
	}
	return ""
}

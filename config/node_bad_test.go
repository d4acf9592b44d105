package config

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestBadNodeFiles(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"unknown key", "listen: :1\n\netcd:\n  prefix: /a\n\n\n  endpoint: x\n", "weftd.yaml:7: etcd.endpoint: unknown key (did you mean etcd.endpoints?)"},
		{"unknown top key", "node_name: a\n", "weftd.yaml:1: node_name: unknown key (did you mean nodeName?)"},
		{"unknown section", "ectd:\n  prefix: /a\n", "weftd.yaml:1: ectd: unknown key (did you mean etcd?)"},
		{"key of another section", "endpoints: [http://a:1]\n", "weftd.yaml:1: endpoints: unknown key (did you mean etcd.endpoints?)"},
		{"nothing like it", "colour: blue\n", "weftd.yaml:1: colour: unknown key"},
		{"password", "etcd:\n  password: hunter2\n", "weftd.yaml:2: etcd.password: unknown key (did you mean etcd.passwordFile?)"},
		{"password in a URL", "etcd:\n  endpoints: ['http://u:hunter2@a:1']\n", "weftd.yaml:2: etcd.endpoints: an endpoint holds a user; set etcd.username and etcd.passwordFile instead"},
		{"port alone", "listen: 9479\n", `weftd.yaml:1: listen: "9479" is not host:port (like 127.0.0.1:9479)`},
		{"port too large", "listen: 127.0.0.1:94790\n", `weftd.yaml:1: listen: "127.0.0.1:94790" is not host:port (like 127.0.0.1:9479)`},
		{"empty value", "listen:\n", "weftd.yaml:1: listen: has no value (leave it out to get the default)"},
		{"empty text", "listen: ''\n", "weftd.yaml:1: listen: is empty (leave it out to get the default)"},
		{"empty section", "etcd:\n", "weftd.yaml:1: etcd: has no value (leave it out to get the default)"},
		{"text for a section", "log: debug\n", "weftd.yaml:1: log: is a single value, want a section of keys"},
		{"section for text", "listen:\n  host: a\n  port: 1\n", "weftd.yaml:1: listen: is a section of keys, want a single value"},
		{"list for text", "runDir: [/a, /b]\n", "weftd.yaml:1: runDir: is a list, want a single value"},
		{"list of lists", "etcd: {endpoints: [[a]]}\n", "weftd.yaml:1: etcd.endpoints: item 1 is a list, want a single value"},
		{"colon in nested brackets", "etcd: {endpoints: [a:1]}\n", "weftd.yaml:1: etcd.endpoints: item 1 is a section of keys, want a single value (a value with colons may need quotes)"},
		{"comma in an item", "etcd: {endpoints: ['a:1,b:1']}\n", "weftd.yaml:1: etcd.endpoints: item 1 holds a comma, want one item for each"},
		{"twice", "runDir: /a\nlisten: :1\nrunDir: /b\n", `weftd.yaml:3: mapping key "runDir" already defined at [1:1]`},
		{"not a map", "- a\n", "weftd.yaml:1: is a list, want keys like `listen: 127.0.0.1:9479`"},
		{"two documents", "runDir: /a\n---\nrunDir: /b\n", "weftd.yaml:3: a second document begins here, the node's file is one"},
		{"no yaml", "a: [\n", "weftd.yaml:1: sequence end token ']' not found"},
		{"tab", "etcd:\n\tprefix: /a\n", `weftd.yaml:2: found character '\t' (tab) that cannot start any token`},
		{"alias", "runDir: &a /x\nstateDir: *a\n", "weftd.yaml:1: anchor is not supported here (write the value itself)"},
		{"tag", "runDir: !!str /x\n", "weftd.yaml:1: tag is not supported here (write the value itself)"},
		{"endpoint without port", "etcd: {endpoints: [http://a]}\n", `weftd.yaml:1: etcd.endpoints: "http://a" is not an etcd endpoint (want http:// or https:// with host and port, like https://192.0.2.1:2379)`},
		{"endpoint of another scheme", "etcd: {endpoints: 'tcp://a:1'}\n", `weftd.yaml:1: etcd.endpoints: "tcp://a:1" is not an etcd endpoint (want http:// or https:// with host and port, like https://192.0.2.1:2379)`},
		{"empty endpoint", "etcd: {endpoints: ['http://a:1', '']}\n", `weftd.yaml:1: etcd.endpoints: "" is not an etcd endpoint (want http:// or https:// with host and port, like https://192.0.2.1:2379)`},
		{"prefix", "etcd: {prefix: weft}\n", `weftd.yaml:1: etcd.prefix: "weft" is not a prefix of etcd keys (like /weft/v1)`},
		{"whole etcd", "etcd: {prefix: /}\n", `weftd.yaml:1: etcd.prefix: "/" is not a prefix of etcd keys (like /weft/v1)`},
		{"missing CA", "etcd:\n  tls:\n    ca: /nonexistent/ca.pem\n", "weftd.yaml:3: etcd.tls.ca: /nonexistent/ca.pem: no such file or directory"},
		{"directory as CA", "etcd: {tls: {ca: /}}\n", "weftd.yaml:1: etcd.tls.ca: / is a directory, want a file"},
		{"cert without key", "etcd:\n  tls:\n    cert: /dev/null\n", "weftd.yaml:3: etcd.tls.cert: etcd.tls.key is not set, a certificate needs its key"},
		{"key without cert", "etcd:\n  tls:\n    key: /dev/null\n", "weftd.yaml:3: etcd.tls.key: etcd.tls.cert is not set, a key needs its certificate"},
		{"tls and http", "etcd:\n  endpoints: [https://a:1, http://b:1]\n  tls: {ca: /dev/null}\n", "weftd.yaml:2: etcd.endpoints: http://b:1 is not https, but etcd.tls is set"},
		{"user without password", "etcd:\n  username: a\n", "weftd.yaml:2: etcd.username: etcd.passwordFile is not set, a user needs a password"},
		{"password without user", "etcd:\n  passwordFile: /dev/null\n", "weftd.yaml:2: etcd.passwordFile: etcd.username is not set, a password needs its user"},
		{"duration", "etcd: {dialTimeout: 5}\n", `weftd.yaml:1: etcd.dialTimeout: "5" is not a duration (want a number with a unit, like 15s or 24h)`},
		{"short duration", "etcd: {dialTimeout: 0s}\n", "weftd.yaml:1: etcd.dialTimeout: 0s is out of range (100ms to 1h)"},
		{"two underlays", "underlay:\n  interface: eth0\n  address: 192.0.2.1\n", "weftd.yaml:3: underlay.address: underlay.interface is set too, want one of them"},
		{"two more underlays", "underlay:\n  address: 192.0.2.1\n  reach: 192.0.2.2\n", "weftd.yaml:3: underlay.reach: underlay.address is set too, want one of them"},
		{"underlay address", "underlay: {address: eth0}\n", `weftd.yaml:1: underlay.address: "eth0" is not an IP address (like 192.0.2.1 or 2001:db8::1)`},
		{"underlay loopback", "underlay: {reach: 127.0.0.1}\n", "weftd.yaml:1: underlay.reach: 127.0.0.1 is not an address that other hosts can reach"},
		{"interface", "underlay: {interface: a/b}\n", `weftd.yaml:1: underlay.interface: "a/b" is not the name of an interface (up to 15 characters, like eth0)`},
		{"relative path", "runDir: run\n", `weftd.yaml:1: runDir: "run" is not an absolute path`},
		{"not a boolean", "cni: {write: yes}\n", `weftd.yaml:1: cni.write: "yes" is not true or false`},
		{"level", "log: {level: warning}\n", `weftd.yaml:1: log.level: "warning" is not one of error, warn, info, debug, trace (did you mean warn?)`},
		{"name", "nodeName: Rack_1\n", `weftd.yaml:1: nodeName: "Rack_1" is not a host name in lower case (letters, digits, dashes, like rack1-host7)`},
		{"long name", "nodeName: " + strings.Repeat("a.", 130) + "a\n", `weftd.yaml:1: nodeName: "` + strings.Repeat("a.", 130) + `a" is longer than the 253 characters of a host name`},
		{"label", "labels: rack\n", `weftd.yaml:1: labels: "rack" is not a label (like rack=r1)`},
		{"labels as pairs", "labels: {rack: r1}\n", "weftd.yaml:1: labels: is a section of keys, want a list"},
		{"label twice", "labels:\n- rack=r1\n- rack=r2\n", "weftd.yaml:1: labels: label rack is set twice"},
		{"label key", "labels: [=r1]\n", `weftd.yaml:1: labels: "" is not the key of a label (letters, digits, dashes, dots, underscores, like rack or example.net/rack)`},
		{"label value", "labels: [rack=r 1]\n", `weftd.yaml:1: labels: "r 1" is not the value of a label (up to 63 letters, digits, dashes, dots, underscores)`},
		{"file of BGP", "bgp: {file: bgp.yaml}\n", `weftd.yaml:1: bgp.file: "bgp.yaml" is not an absolute path`},
		{"id", "nodeID: a/b\n", `weftd.yaml:1: nodeID: "a/b" is not an id (up to 64 letters, digits, dashes, dots and underscores)`},
		{"line break in a value", "listen: \"a\\nb\"\n", `weftd.yaml:1: listen: "a\nb" is not host:port (like 127.0.0.1:9479)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := loadWith(t, c.file, nil); errText(err) != c.want {
				t.Errorf("got:  %s\nwant: %s", errText(err), c.want)
			}
		})
	}
}

func TestBadValuesNameTheirSource(t *testing.T) {
	for _, c := range []struct{ name, file, env, flag, want string }{
		{"environment", "listen: :1\n", "9479", "", `WEFT_LISTEN: "9479" is not host:port (like 127.0.0.1:9479)`},
		{"flag", "listen: :1\n", ":2", "--listen=9479", `--listen: "9479" is not host:port (like 127.0.0.1:9479)`},
		{"empty flag", "", "", "--listen=", "--listen: is empty (leave it out to get the default)"},
		{"file overridden", "listen: nonsense\n", ":2", "", ""},
	} {
		var args []string
		if c.flag != "" {
			args = append(args, c.flag)
		}
		_, err := loadWith(t, c.file, map[string]string{"WEFT_LISTEN": c.env}, args...)
		if errText(err) != c.want {
			t.Errorf("%s:\ngot:  %s\nwant: %s", c.name, errText(err), c.want)
		}
	}
}

func TestLargeFile(t *testing.T) {
	_, err := loadWith(t, strings.Repeat("# comment\n", maxInput/8), nil)
	if want := "weftd.yaml: larger than 1024 KiB, this is no configuration"; errText(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestIdentify(t *testing.T) {
	file := filepath.Join(t.TempDir(), "machine-id")
	const machineID = "b08dfa6083e7567a1921a715000001fb"
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(machineID + "\n")
	h := host{name: func() (string, error) { return "Rack1-Host7", nil }, machineID: file}
	n := defaults()
	if err := h.identify(n); err != nil {
		t.Fatal(err)
	}
	// The derivation may never change: nodes would lose their subnets.
	const wantID = "2e4de11b63c927f7915e56ef411f2a01"
	if n.NodeName != "rack1-host7" || n.NodeID != wantID {
		t.Errorf("got %s %s, want rack1-host7 %s", n.NodeName, n.NodeID, wantID)
	}
	if strings.Contains(string(n.NodeID), machineID[:8]) {
		t.Errorf("the id %s shows the machine id", n.NodeID)
	}
	for _, c := range []struct {
		name, hostName, machineID string
		hostErr                   error
		want                      string
	}{
		{"first boot", "a", "uninitialized\n", nil, `nodeID: is not set, and FILE holds no machine id \(systemd-machine-id-setup makes one\)`},
		{"empty", "a", "", nil, `nodeID: is not set, and FILE holds no machine id .*`},
		{"host name", "my_host", machineID, nil, `nodeName: is not set, and the host's name will not do: "my_host" is not a host name .*`},
		{"no host name", "", machineID, errors.New("none"), "nodeName: is not set, and the host has no name: none"},
	} {
		write(c.machineID)
		h.name = func() (string, error) { return c.hostName, c.hostErr }
		err := h.identify(defaults())
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		got := strings.ReplaceAll(err.Error(), file, "FILE")
		if !regexp.MustCompile("^" + c.want + "$").MatchString(got) {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	h = host{name: func() (string, error) { return "a", nil }, machineID: file + ".none"}
	if err := h.identify(defaults()); err == nil || !strings.HasPrefix(err.Error(), "nodeID: is not set, and there is no machine id") {
		t.Errorf("no machine id: got %v", err)
	}
	// What is configured needs nothing of the host.
	n = &Node{NodeName: "x", NodeID: "y"}
	if err := h.identify(n); err != nil || n.NodeName != "x" || n.NodeID != "y" {
		t.Errorf("configured: got %+v, %v", n, err)
	}
}

package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
)

var cmpAddrs = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}

// loadWith calls Load with a file of the given content ("" for none), the
// environment and the arguments.
func loadWith(t *testing.T, file string, env map[string]string, args ...string) (*Node, error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	Flags(flags)
	path := filepath.Join(t.TempDir(), "weftd.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := flags.Parse(append([]string{"--config", path}, args...)); err != nil {
		t.Fatal(err)
	}
	n, err := LoadClient(flags, func(k string) (string, bool) { v, ok := env[k]; return v, ok })
	if err != nil && strings.Contains(err.Error(), "\n") {
		t.Errorf("error has more than one line: %q", err)
	}
	if err != nil { // the directory is different each time
		return n, errString(strings.ReplaceAll(err.Error(), path, "weftd.yaml"))
	}
	return n, nil
}

type errString string

func (e errString) Error() string { return string(e) }

// sample returns a value for every key that is not its default.
func sample(t *testing.T) map[string]string {
	pem := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(pem, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"nodeName": "rack1.host-7", "nodeID": "4c1F.0_f2-e", "labels": "rack=r1,example.net/role=", "bgp.file": "/nonexistent/bgp.yaml",
		"etcd.endpoints": "https://192.0.2.1:2379,https://[2001:db8::1]:2379", "etcd.prefix": "/other/v1",
		"etcd.tls.ca": pem, "etcd.tls.cert": pem, "etcd.tls.key": pem,
		"etcd.username": "weft", "etcd.passwordFile": pem, "etcd.dialTimeout": "7s",
		"underlay.interface": "eth0", "underlay.address": "192.0.2.7", "underlay.reach": "2001:db8::7",
		"runDir": "/tmp/run", "stateDir": "/tmp/state", "cni.confDir": "/tmp/cni", "cni.write": "true",
		"listen": "[::1]:80", "log.level": "debug", "log.format": "json",
	}
}

// yamlOf writes one key as a file.
func yamlOf(path, value string) string {
	steps := strings.Split(path, ".")
	var b strings.Builder
	for i, s := range steps {
		b.WriteString(strings.Repeat("  ", i) + s + ":")
		if i < len(steps)-1 {
			b.WriteString("\n")
		}
	}
	return b.String() + " '" + value + "'\n"
}

// together lists keys that are only accepted with others.
var together = map[string][]string{
	"etcd.tls.cert": {"etcd.tls.key"}, "etcd.tls.key": {"etcd.tls.cert"},
	"etcd.username": {"etcd.passwordFile"}, "etcd.passwordFile": {"etcd.username"},
}

func TestEveryKeyHasFileEnvironmentAndFlag(t *testing.T) {
	values := sample(t)
	for _, k := range keys {
		t.Run(k.path, func(t *testing.T) {
			text := values[k.path]
			if text == "" {
				t.Fatalf("the test has no sample for %s", k.path)
			}
			env := make(map[string]string)
			for _, other := range together[k.path] {
				o, _ := keyAt(other)
				env[o.env()] = values[other]
			}
			base := defaults()
			if err := completeEtcd(&base.Etcd); err != nil {
				t.Fatal(err)
			}
			byFile, err := loadWith(t, yamlOf(k.path, text), env)
			if err != nil {
				t.Fatalf("file: %v", err)
			}
			if cmp.Equal(base, byFile, cmpAddrs) {
				t.Errorf("the file's %s: %s changed nothing", k.path, text)
			}
			byFlag, err := loadWith(t, "", env, "--"+k.flag()+"="+text)
			if err != nil {
				t.Fatalf("flag: %v", err)
			}
			env[k.env()] = text
			byEnv, err := loadWith(t, "", env)
			if err != nil {
				t.Fatalf("environment: %v", err)
			}
			if diff := cmp.Diff(byFile, byEnv, cmpAddrs); diff != "" {
				t.Errorf("environment differs from file (-file +environment):\n%s", diff)
			}
			if diff := cmp.Diff(byFile, byFlag, cmpAddrs); diff != "" {
				t.Errorf("flag differs from file (-file +flag):\n%s", diff)
			}
		})
	}
}

func TestNamesOfFlagsAndVariables(t *testing.T) {
	for path, want := range map[string][2]string{
		"nodeID":            {"node-id", "WEFT_NODE_ID"},
		"etcd.tls.ca":       {"etcd-tls-ca", "WEFT_ETCD_TLS_CA"},
		"etcd.passwordFile": {"etcd-password-file", "WEFT_ETCD_PASSWORD_FILE"},
		"cni.confDir":       {"cni-conf-dir", "WEFT_CNI_CONF_DIR"},
	} {
		k, ok := keyAt(path)
		if got := [2]string{k.flag(), k.env()}; !ok || got != want {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}

func TestPrecedence(t *testing.T) {
	const file = "listen: 127.0.0.1:1\nlog: {level: warn}\nstateDir: /from/file\nunderlay: {interface: eth7}\n"
	env := map[string]string{"WEFT_LISTEN": "127.0.0.1:2", "WEFT_LOG_LEVEL": "error", "WEFT_STATE_DIR": ""}
	n, err := loadWith(t, file, env, "--listen", "127.0.0.1:3", "--underlay-address", "192.0.2.7")
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Etcd.Endpoints = []string{"http://127.0.0.1:2379"}
	want.Listen = "127.0.0.1:3"                                         // flag over environment and file
	want.Log.Level = "error"                                            // environment over file
	want.StateDir = "/from/file"                                        // an empty variable is none
	want.Underlay = Underlay{Address: netip.MustParseAddr("192.0.2.7")} // takes the place of the file's choice
	if diff := cmp.Diff(want, n, cmpAddrs); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestEndpoints(t *testing.T) {
	pem := sample(t)["etcd.tls.ca"]
	for _, c := range []struct{ name, file, want string }{
		{"default", "", "http://127.0.0.1:2379"},
		{"default with tls", "etcd: {tls: {ca: " + pem + "}}", "https://127.0.0.1:2379"},
		{"without scheme", "etcd: {endpoints: ['a.example:2379', 'b.example:2379']}", "http://a.example:2379 http://b.example:2379"},
		{"without scheme, tls", "etcd: {tls: {ca: " + pem + "}, endpoints: a.example:2379}", "https://a.example:2379"},
		{"slash at the end", "etcd: {endpoints: ['http://a.example:2379/']}", "http://a.example:2379"},
		{"list of lines", "etcd:\n  endpoints:\n  - http://192.0.2.1:2379\n  - http://192.0.2.2:2379\n", "http://192.0.2.1:2379 http://192.0.2.2:2379"},
	} {
		n, err := loadWith(t, c.file, nil)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if got := strings.Join(n.Etcd.Endpoints, " "); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestConfigFileIsFound(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mine.yaml")
	if err := os.WriteFile(path, []byte("listen: 127.0.0.1:7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	Flags(flags)
	env := func(k string) (string, bool) {
		if k != "WEFT_CONFIG" {
			return "", false
		}
		return path, true
	}
	n, err := LoadClient(flags, env)
	if err != nil || n.Listen != "127.0.0.1:7" {
		t.Errorf("WEFT_CONFIG: got %+v, %v", n, err)
	}
	if err := flags.Parse([]string{"--config", filepath.Join(dir, "none.yaml")}); err != nil {
		t.Fatal(err)
	}
	_, err = LoadClient(flags, env)
	want := filepath.Join(dir, "none.yaml") + ": no such file or directory (the node's file, see --config)"
	if err == nil || err.Error() != want {
		t.Errorf("--config of a missing file: got %v, want %s", err, want)
	}
	if err := flags.Parse([]string{"--config", dir}); err != nil {
		t.Fatal(err)
	}
	if _, err = LoadClient(flags, env); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("--config of a directory: got %v", err)
	}
}

func TestReferenceHasEveryKeyAndTheDefaults(t *testing.T) {
	got, err := loadWith(t, Reference, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	if err := completeEtcd(&want.Etcd); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpAddrs); diff != "" {
		t.Errorf("the reference's values are not the defaults (-default +reference):\n%s", diff)
	}
	// A comment begins with "# ", a key that is commented out with "#".
	var all strings.Builder
	for line := range strings.Lines(Reference) {
		if i := strings.Index(line, "#"); i >= 0 && !strings.HasPrefix(line[i:], "# ") && len(line) > i+2 {
			line = line[:i] + line[i+1:]
		}
		all.WriteString(line)
	}
	values := make(map[string]value)
	if err := parseNode("reference.yaml", []byte(all.String()), values); err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if _, ok := values[k.path]; !ok {
			t.Errorf("the reference does not mention %s", k.path)
		}
	}
}

func TestCheckEnviron(t *testing.T) {
	for _, c := range []struct{ env, want string }{
		{"WEFT_ETCD_ENDPOINT=x", "WEFT_ETCD_ENDPOINT: unknown environment variable (did you mean WEFT_ETCD_ENDPOINTS?)"},
		{"WEFT_NODENAME=x", "WEFT_NODENAME: unknown environment variable (did you mean WEFT_NODE_NAME?)"},
		{"WEFT_CONFIGS=x", "WEFT_CONFIGS: unknown environment variable (did you mean WEFT_CONFIG?)"},
		{"WEFT_CONFIG=x", ""},
		{"WEFT_LISTEN=x", ""},
		{"WEFT_PORT_9479_TCP_ADDR=192.0.2.1", ""},
		{"PATH=/bin", ""},
	} {
		err := CheckEnviron([]string{"HOME=/", c.env})
		if got := errText(err); got != c.want {
			t.Errorf("%s: got %q, want %q", c.env, got, c.want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestDialTimeout(t *testing.T) {
	n, err := loadWith(t, "etcd: {dialTimeout: 1500ms}", nil)
	if err != nil || n.Etcd.DialTimeout != 1500*time.Millisecond {
		t.Errorf("got %+v, %v", n, err)
	}
}

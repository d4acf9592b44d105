package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out, doc := w.run(call{command: "VERSION"})
	var got struct {
		CNIVersion        string   `json:"cniVersion"`
		SupportedVersions []string `json:"supportedVersions"`
	}
	if err := json.Unmarshal(out, &got); err != nil || doc != nil {
		t.Fatalf("%v %v: %s", err, doc, out)
	}
	if fmt.Sprint(got.SupportedVersions) != "[0.3.1 0.4.0 1.0.0 1.1.0]" || got.CNIVersion == "" {
		t.Errorf("got %+v", got)
	}
}

func TestRefusedNamespaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	p := w.pod("c1")
	for _, tt := range []struct {
		netns string
		code  uint
		words string
	}{
		{"/proc/thread-self/ns/net", 8, "the host's own namespace"},
		{fmt.Sprintf("/proc/%d/ns/uts", p.pid), 8, "not a network namespace"},
		{"/dev/null", 8, "not a network namespace"},
		{"/proc/1/no/such", 8, "no such file"},
		{"", 4, "CNI_NETNS must be set"},
	} {
		w.fails(call{command: "ADD", id: p.id, netns: tt.netns}, tt.code, tt.words)
	}
	w.clean(p)
	// By the descriptor of some process, as buildah does.
	f, err := os.Open(p.netns)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w.addAs(call{command: "ADD", id: p.id, netns: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())})
	// By a bind mount, as most runtimes do.
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	q, bound := w.pod("c2"), t.TempDir()+"/ns"
	if err := os.WriteFile(bound, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(q.netns, bound, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(bound, syscall.MNT_DETACH) })
	w.addAs(call{command: "ADD", id: q.id, netns: bound})
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	p := w.pod("c1")
	add := func(change func(*call)) call {
		c := call{command: "ADD", id: p.id, netns: p.netns}
		change(&c)
		return c
	}
	for _, tt := range []struct {
		name  string
		call  call
		code  uint
		words string
	}{
		{"unknown command", call{command: "FROB"}, 4, "FROB"},
		{"no container", add(func(c *call) { c.id = "" }), 4, "must be set"},
		{"container with a slash", add(func(c *call) { c.id = "a/b" }), 4, "CNI_CONTAINERID"},
		{"container of 200 bytes", add(func(c *call) { c.id = strings.Repeat("x", 200) }), 4, "200 bytes"},
		{"interface too long", add(func(c *call) { c.ifname = "a234567890123456" }), 4, "16 bytes"},
		{"interface with a colon", add(func(c *call) { c.ifname = "a:b" }), 4, "no interface name"},
		{"interface that the kernel would number", add(func(c *call) { c.ifname = "eth%d" }), 4, "no interface name"},
		{"interface that is not text", add(func(c *call) { c.ifname = "eth\xff" }), 4, "no interface name"},
		{"arguments", add(func(c *call) { c.env = []string{"CNI_ARGS=IgnoreUnknown=1;what"} }), 4, "KEY=VALUE"},
		{"version 0.2.0", add(func(c *call) { c.version = "0.2.0" }), 1, "0.3.1, 0.4.0, 1.0.0, 1.1.0"},
		{"version 2.0.0", add(func(c *call) { c.version = "2.0.0" }), 1, "2.0.0"},
		{"no version", add(func(c *call) { c.extra = map[string]any{"cniVersion": nil} }), 1, "0.1.0"},
		{"CHECK of 0.3.1", call{command: "CHECK", version: "0.3.1", id: p.id, netns: p.netns}, 1, "has no CHECK"},
		{"STATUS of 1.0.0", call{command: "STATUS", version: "1.0.0"}, 1, "has no STATUS"},
		{"no name", add(func(c *call) { c.extra = map[string]any{"name": ""} }), 7, "network name"},
		{"relative run directory", add(func(c *call) { c.extra = map[string]any{"runDir": "run"} }), 7, "absolute"},
		{"wrong type", add(func(c *call) { c.extra = map[string]any{"runDir": 7} }), 6, "runDir"},
		{"ipam", add(func(c *call) { c.extra = map[string]any{"ipam": map[string]any{"type": "host-local"}} }), 2, "host-local"},
		{"previous result", add(func(c *call) { c.prev = []byte(`{"cniVersion":"1.1.0","ips":[{"address":"x"}]}`) }), 6, "prevResult"},
		{"previous result out of range", add(func(c *call) {
			c.prev = []byte(`{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.1/8","interface":3}]}`)
		}), 6, "prevResult"},
		{"previous result with holes", add(func(c *call) { c.prev = []byte(`{"cniVersion":"1.1.0","interfaces":[null]}`) }), 6, "prevResult"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.t = t
			w.fails(tt.call, tt.code, tt.words)
		})
	}
	w.t = t
	w.clean(p)
	w.addAs(add(func(c *call) { c.env = []string{"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=x;"} }))
}

// FuzzConf feeds any bytes as configuration and CNI_ARGS: an error has a code
// and one line, and what is accepted can be used.
func FuzzConf(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.1.0","name":"weft","type":"weft","runDir":"/run/weft"}`), "IgnoreUnknown=1;K8S_POD_NAME=x;")
	f.Add([]byte(`{"cniVersion":"0.3.1","name":"a","prevResult":{"cniVersion":"0.3.1","interfaces":[{"name":"x"}],"ips":[{"version":"4","address":"10.0.0.2/8","interface":0}]}}`), "")
	f.Add([]byte(`{"cniVersion":"1.0.0","name":"a","prevResult":{"cniVersion":"1.0.0","ips":[null]}}`), "=")
	f.Add([]byte(`{"cniVersion":"1.0.0","name":"a","prevResult":null,"dns":null,"ipam":{"type":"x"}}`), "a=b=c")
	f.Add([]byte(`{"cniVersion":"1.1.0","name":"weft","runtimeConfig":{"ips":["10.0.0.1/8"],"mac":"02:00:00:00:00:01","aliases":{"weft":["a"]},
		"io.kubernetes.cri.pod-annotations":{"weft/labels":"a=b","weft/sticky":"true","weft/ips":"::1"}},"args":{"cni":{"labels":[{"key":"a","value":"b"}]}}}`), "IP=10.0.0.1,::1;MAC=02:00:00:00:00:01")
	f.Fuzz(func(t *testing.T, data []byte, args string) {
		c, err := parseConf(data)
		checkError(t, err)
		if err == nil {
			err = c.complete()
			checkError(t, err)
		}
		if err == nil {
			_, err = parseWishes(&request{conf: c, args: args})
			checkError(t, err)
		}
		if err == nil && c.prev != nil {
			_, err := promised(request{conf: c})
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
		}
		_, err = parseAttachment(func(string) string { return args })
		checkError(t, err)
		if trace := traceparent(args); trace != "" && trace != args {
			t.Errorf("%q made %q", args, trace)
		}
		var out bytes.Buffer
		printError(&out, newest, errors.New(args))
		var doc document
		if err := json.Unmarshal(out.Bytes(), &doc); err != nil || doc.Code != types.ErrIOFailure {
			t.Errorf("%v: %q", err, out.Bytes())
		}
	})
}

func checkError(t *testing.T, err error) {
	t.Helper()
	var e *types.Error
	if err != nil && (!errors.As(err, &e) || e.Code == 0 || strings.Contains(e.Msg, "\n")) {
		t.Errorf("poor error %#v", err)
	}
}

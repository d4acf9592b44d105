package cli

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/golden"
	"github.com/weft-net/weft/ipam"
)

func addrsOf(texts ...string) (out []netip.Addr) {
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

// someRows are pods of every kind, one of them known by its slot alone.
func someRows() []podRow {
	mac := fabric.MAC{0x0a, 0x58, 10, 244, 1, 7}
	const id = "3f2a9c5e7d1b4a60c8e2f4d6b8a0c2e43f2a9c5e7d1b4a60c8e2f4d6b8a0c2e4"
	host := ipam.Attachment{Container: id, Interface: "eth0"}.HostInterface()
	return []podRow{
		{Container: "cnitool-77383ca0a5715733ca6f", Interface: "eth0", Addresses: addrsOf("10.244.1.9"), Since: noon.Add(-3 * time.Second), HostInterface: "weft00112233445", Unrecorded: true},
		{Namespace: "default", Pod: "web-0", UID: "u", Container: id, Interface: "eth0", Addresses: addrsOf("10.244.1.7", "fd00:10:244:1::7"), Since: noon.Add(-50 * time.Hour),
			Labels: map[string]string{"tier": "front", "app": "web"}, Network: "weft", HostInterface: host, MAC: &mac, MTU: 1450, Netns: "/run/netns/cni-1", Guarded: true},
		{Namespace: "kube-system", Pod: "a-pod-with-a-name-that-is-much-too-long-for-a-narrow-screen", Container: strings.Repeat("ab", 32), Interface: "net1",
			Addresses: addrsOf("10.244.100.200", "fd00:10:244:1234:5678:9abc:def0:1234"), Since: noon.Add(-61 * time.Second), Network: "weft", HostInterface: "weft55443322110", MAC: &mac, MTU: 1450},
	}
}

func TestPodsTable(t *testing.T) {
	rows := someRows()
	narrow, wide := podsTable(rows, noon, false).String(), podsTable(rows, noon, true).String()
	checkWidth(t, narrow)
	golden.Compare(t, "pods.txt", narrow+"\n"+podsTable(rows[:1], noon, false).String()+"\n"+wide)
}

// attach gives a pod an address and a record, as the plugin does.
func attach(t *testing.T, runDir, container string, pod record.Pod, labels map[string]string) ipam.Grant {
	t.Helper()
	slots, err := ipam.NewSlots(runDir, ipam.Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := ipam.Attachment{Container: container, Interface: "eth0"}
	g, err := slots.Allocate(t.Context(), ipam.Claim{Attachment: at, Network: "weft", Pod: pod.String()}, []netip.Prefix{prefix("10.244.1.0/24"), prefix("fd00:1::/120")})
	if err != nil {
		t.Fatal(err)
	}
	r := record.Record{Version: record.Version, Network: "weft", Container: container, Interface: "eth0", HostInterface: at.HostInterface(),
		Addrs: g.Addrs, MTU: 1450, Pod: pod, Labels: labels, Created: time.Now()}
	if err := r.Write(runDir); err != nil {
		t.Fatal(err)
	}
	return g
}

func pods(t *testing.T, r result) (names []string, rows []podRow) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.out), &rows); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	for i := range rows {
		names = append(names, rows[i].name())
	}
	return names, rows
}

// What the plugin's files say is listed with neither agent nor etcd.
func TestPods(t *testing.T) {
	dir := t.TempDir()
	env := []string{"WEFT_CONFIG=/dev/null", "WEFT_RUN_DIR=" + dir}
	empty := command(t, env, "", "pods")
	if want := (result{exitDone, "", "note: no pod on this host has an address (by the files in " + dir + ")\n"}); empty != want {
		t.Errorf("no pods: got %+v, want %+v", empty, want)
	}
	if r := command(t, env, "", "pods", "-o", "json"); r.out != "[]\n" {
		t.Errorf("no pods: %q", r.out)
	}
	web := attach(t, dir, "c1", record.Pod{Namespace: "default", Name: "web-0"}, map[string]string{"app": "web"})
	attach(t, dir, "c2", record.Pod{Namespace: "default", Name: "db-0"}, map[string]string{"app": "db"})
	attach(t, dir, "c3", record.Pod{Namespace: "other", Name: "lost-record"}, nil)
	broken := filepath.Join(record.Dir(dir), ipam.Attachment{Container: "c3", Interface: "eth0"}.HostInterface()+".json")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	gone := attach(t, dir, "c4", record.Pod{Namespace: "default", Name: "gone"}, nil) // its record stayed, for the sweep
	slots, err := readSlots(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slots.Release(t.Context(), gone.Attachment); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string][]string{
		"pods":                     {"default/db-0", "default/web-0", "other/lost-record"},
		"pods -n default":          {"default/db-0", "default/web-0"},
		"pods -n default -l app=x": nil,
		"pods -l app=web":          {"default/web-0"},
		"pods -l app!=web":         {"default/db-0"}, // of the third it is not known
		"pods -n other":            {"other/lost-record"},
	} {
		r := command(t, env, "", append(strings.Fields(line), "--output", "json")...)
		got, rows := pods(t, r)
		if !slices.Equal(got, want) || r.code != exitDone || !strings.Contains(r.err, "note: "+broken+": ") {
			t.Errorf("weft %s: got %v, want %v; %+v", line, got, want, r)
		}
		for _, row := range rows {
			if age := noon.Sub(row.Since); age < 0 || age > time.Hour || len(row.Addresses) != 2 || row.Unrecorded != (row.Pod == "lost-record") {
				t.Errorf("weft %s: %+v", line, row)
			}
		}
	}
	_, rows := pods(t, command(t, env, "", "pods", "-l", "app=web", "-o", "json"))
	rows[0].Since = time.Time{}
	want := podRow{Namespace: "default", Pod: "web-0", Container: "c1", Interface: "eth0", Addresses: []netip.Addr{web.Addrs[0].Addr(), web.Addrs[1].Addr()},
		Labels: map[string]string{"app": "web"}, Network: "weft", HostInterface: web.HostInterface(), MAC: &fabric.MAC{}, MTU: 1450}
	if diff := cmp.Diff(want, rows[0], cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if r := command(t, env, "", "pods", "-n", "nobody"); !strings.Contains(r.err, "note: none of the 3 pod interfaces on this host is like that\n") {
		t.Errorf("nobody: %+v", r)
	}
}

// Where the slot files cannot be read the records are shown and the command
// fails; a damaged file stays as it is, for those who know what is in use.
func TestPodsOfDamagedSlots(t *testing.T) {
	dir := t.TempDir()
	env := []string{"WEFT_CONFIG=/dev/null", "WEFT_RUN_DIR=" + dir}
	attach(t, dir, "c1", record.Pod{Namespace: "default", Name: "web-0"}, nil)
	path := filepath.Join(dir, "slots", "10.244.1.0-24")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4096 {
		data[i] ^= 0x55
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r := command(t, env, "", "pods", "-o", "json")
	if names, _ := pods(t, r); r.code != exitFailed || !slices.Equal(names, []string{"default/web-0"}) || !strings.Contains(r.err, errOnlyRead.Error()) {
		t.Errorf("got %v, %+v", names, r)
	}
	after, err := os.ReadFile(path)
	if err != nil || !slices.Equal(after, data) {
		t.Errorf("the damaged file was changed (%v)", err)
	}
}

func TestLabelSelector(t *testing.T) {
	row := &podRow{Labels: map[string]string{"app": "web", "empty": ""}}
	for text, want := range map[string]bool{
		"": true, "app=web": true, "app==web": true, "app=db": false, "app!=db": true, "app!=web": false, "x!=web": true, "x=": false, "empty=": true,
		"app": true, "x": false, "!x": true, "!app": false, "app=web,!x": true, "app=web,x": false, " app = web , empty": true,
	} {
		s, err := parseLabelSelector(text)
		if err != nil || s.matches(row) != want {
			t.Errorf("%q: %v, want %v; %v", text, err == nil && s.matches(row), want, err)
		}
	}
	for _, text := range []string{"=web", ",", "app=web,", "!", "!=x", "a b", "app in (web)", "a=b=c", "!a=b"} {
		if s, err := parseLabelSelector(text); err == nil {
			t.Errorf("%q: %+v, want an error", text, s)
		}
	}
}

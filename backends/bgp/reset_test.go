package bgp

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/golden"
)

// different is a value of each type that fields of Session and Global have, and
// is not its zero.
func different(t *testing.T, typ reflect.Type) reflect.Value {
	t.Helper()
	for _, v := range []any{
		"x", true, uint8(7), uint16(7), uint32(7), 7, 7 * time.Second, Secret("abracadabra"), addr("192.0.2.7"),
		fabric.PerFamily[bool]{IPv6: true}, []Rule{{Name: "x"}}, []netip.Addr{addr("192.0.2.7")}, []string{"x"},
	} {
		if reflect.TypeOf(v) == typ {
			return reflect.ValueOf(v)
		}
	}
	t.Fatalf("no value of %v", typ)
	return reflect.Value{}
}

// Every field of Opening resets a session, and Stage holds it back; every other
// can be changed in place, and Stage does not.
func TestEveryFieldResetsOrDoesNot(t *testing.T) {
	opening := reflect.TypeFor[Opening]()
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Session]()) {
		if field.Anonymous || field.Name == "Key" {
			continue
		}
		_, opens := opening.FieldByName(field.Name)
		before, after := Session{Key: "k"}, Session{Key: "k"}
		reflect.ValueOf(&after).Elem().FieldByIndex(field.Index).Set(different(t, field.Type))
		testField(t, field.Name, opens, before, after)
		testField(t, field.Name, opens, after, before)
	}
	if got := Resets(Session{Key: "k"}, Session{Key: "k"}); got != nil {
		t.Errorf("nothing changes, and resets for %q", got)
	}
}

func testField(t *testing.T, name string, opens bool, before, after Session) {
	t.Helper()
	reasons := Resets(before, after)
	if (len(reasons) == 1) != opens || len(reasons) > 1 {
		t.Errorf("%s: resets for %q", name, reasons)
	}
	if strings.Contains(strings.Join(reasons, " "), "abracadabra") {
		t.Error("a reason shows the password")
	}
	up := func(string) bool { return true }
	desired := func(s Session) Desired { return Desired{Global: Global{ASN: 65000}, Sessions: []Session{s}} }
	now, waiting := Stage(desired(before), desired(after), up, "")
	want := after
	if opens {
		want = before
	}
	if !reflect.DeepEqual(now.Sessions[0], want) || (len(waiting) == 1) != opens {
		t.Errorf("%s: now %+v, waiting %v", name, now.Sessions[0], waiting)
	}
}

func TestEveryGlobalFieldResetsOrDoesNot(t *testing.T) {
	inPlace := []string{"Multipath", "RestartTime", "LongLived", "BMP"}
	up := func(string) bool { return true }
	sessions := []Session{{Key: "k"}}
	typ := reflect.TypeFor[Global]()
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		before, after := Global{ASN: 65000}, Global{ASN: 65000}
		reflect.ValueOf(&after).Elem().Field(i).Set(different(t, typ.Field(i).Type))
		reasons := GlobalResets(before, after)
		if resets := !slices.Contains(inPlace, name); (len(reasons) == 1) != resets || len(reasons) > 1 {
			t.Errorf("%s: resets for %q", name, reasons)
		}
		want := after
		if len(reasons) > 0 {
			want = before
		}
		now, waiting := Stage(Desired{Global: before, Sessions: sessions}, Desired{Global: after, Sessions: sessions}, up, "")
		if !reflect.DeepEqual(now.Global, want) || (len(waiting) == 1) != (len(reasons) > 0) {
			t.Errorf("%s: now %+v, waiting %v", name, now.Global, waiting)
		}
	}
}

func TestStage(t *testing.T) {
	global := Global{ASN: 65000, Multipath: 2}
	session := func(key string, remote uint32, description string) Session {
		return Session{Key: key, Opening: Opening{RemoteASN: remote, Interface: key}, Description: description}
	}
	inForce := Desired{
		Global:   global,
		Sessions: []Session{session("a", 1, "old"), session("b", 1, "old"), session("down", 1, "old"), session("gone", 1, "")},
		Ranges:   []Range{{Prefix: prefix("198.18.0.0/24"), Template: session("r", 1, "old")}},
	}
	wanted := Desired{
		Global:   Global{ASN: 65000, Multipath: 4},
		Sessions: []Session{session("a", 2, "new"), session("b", 2, "new"), session("down", 2, "new"), session("more", 1, "")},
		Ranges:   []Range{{Prefix: prefix("198.18.0.0/24"), Template: session("r", 2, "new")}},
		Announcements: []Announcement{
			{Prefix: prefix("10.244.1.0/24"), Why: "lease"},
		},
	}
	other := wanted
	other.Global.ASN = 65001
	up := func(key string) bool { return key != "down" }
	for _, tt := range []struct {
		name            string
		inForce, wanted Desired
		up              func(string) bool
		permitted       string
		now, waiting    string
	}{
		{"nothing is permitted", inForce, wanted, up, "", "AS 65000 x4: a 1 new, b 1 new, down 2 new, more 1, r 1 new", "a, b, r"},
		{"one is", inForce, wanted, up, "b", "AS 65000 x4: a 1 new, b 2 new, down 2 new, more 1, r 1 new", "a, r"},
		{"a range is", inForce, wanted, up, "r", "AS 65000 x4: a 1 new, b 1 new, down 2 new, more 1, r 2 new", "a, b"},
		{"one that does not change is", inForce, wanted, up, "more", "AS 65000 x4: a 1 new, b 1 new, down 2 new, more 1, r 1 new", "a, b, r"},
		{"all that all share changes, one is permitted", inForce, other, up, "b", "AS 65000 x4: a 1 new, b 1 new, down 2 new, more 1, r 1 new", "*"},
		{"all that all share changes, everything is permitted", inForce, other, up, "*", "AS 65001 x4: a 2 new, b 2 new, down 2 new, more 1, r 2 new", ""},
		{"nothing is up", inForce, other, func(string) bool { return false }, "", "AS 65001 x4: a 2 new, b 2 new, down 2 new, more 1, r 2 new", ""},
		{"nothing is in force", Desired{}, wanted, up, "", "AS 65000 x4: a 2 new, b 2 new, down 2 new, more 1, r 2 new", ""},
		{"too little is known", inForce, Desired{}, up, "*", "AS 65000 x2: a 1 old, b 1 old, down 1 old, gone 1, r 1 old", ""},
	} {
		now, waiting := Stage(tt.inForce, tt.wanted, tt.up, tt.permitted)
		var parts, keys []string
		for _, s := range now.Sessions {
			parts = append(parts, strings.TrimSpace(fmt.Sprint(s.Key, " ", s.RemoteASN, " ", s.Description)))
		}
		for _, r := range now.Ranges {
			parts = append(parts, strings.TrimSpace(fmt.Sprint(r.Template.Key, " ", r.Template.RemoteASN, " ", r.Template.Description)))
		}
		for _, w := range waiting {
			keys = append(keys, w.Key)
			if len(w.Reasons) == 0 {
				t.Errorf("%s: %s waits for no reason", tt.name, w.Key)
			}
		}
		if got := fmt.Sprintf("AS %d x%d: %s", now.Global.ASN, now.Global.Multipath, strings.Join(parts, ", ")); got != tt.now {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, tt.now)
		}
		if got := strings.Join(keys, ", "); got != tt.waiting {
			t.Errorf("%s: got %q waiting, want %q", tt.name, got, tt.waiting)
		}
		if tt.wanted.Global.ASN != 0 && len(now.Announcements) != 1 {
			t.Errorf("%s: the announcements wait", tt.name)
		}
	}
	if inForce.Sessions[0].RemoteASN != 1 || wanted.Sessions[0].RemoteASN != 2 {
		t.Error("what was given was changed")
	}
}

// A session whose object gets another name is another one to the speaker, with
// the same far end: it keeps its key until its turn comes.
func TestStageRenamed(t *testing.T) {
	session := func(key, far string) Session { return Session{Key: key, Opening: Opening{Address: addr(far)}} }
	global := Global{ASN: 65000}
	inForce := Desired{Global: global, Sessions: []Session{session("m/198.18.0.1", "198.18.0.1"), session("m/198.18.0.2", "198.18.0.2")}}
	wanted := Desired{Global: global, Sessions: []Session{session("a/198.18.0.2", "198.18.0.2"), session("m/198.18.0.1", "198.18.0.1"), session("z/198.18.0.3", "198.18.0.3")}}
	for _, tt := range []struct {
		up              bool
		permitted       string
		waits           string
		first, sessions string
	}{
		{true, "", "m/198.18.0.2", "m/198.18.0.1", "m/198.18.0.2"},
		{true, "m/198.18.0.2", "", "a/198.18.0.2", "m/198.18.0.1"},
		{false, "", "", "a/198.18.0.2", "m/198.18.0.1"},
	} {
		now, waiting := Stage(inForce, wanted, func(string) bool { return tt.up }, tt.permitted)
		var waits string
		for _, w := range waiting {
			waits += w.Key
			if text := strings.Join(w.Reasons, ", "); text != "the object's name changes from m to a" {
				t.Errorf("%s waits: %s", w.Key, text)
			}
		}
		if waits != tt.waits || len(now.Sessions) != 3 || now.Sessions[0].Key != tt.first || now.Sessions[1].Key != tt.sessions {
			t.Errorf("up %t, permitted %q: %q waits, now %+v", tt.up, tt.permitted, waits, now.Sessions)
		}
	}
}

// A password's file that is gone takes no session down that is up with its
// password; one that must have a password from now on comes down in its turn.
func TestStageKeepsWhatIsAuthenticated(t *testing.T) {
	global := Global{ASN: 65000}
	for _, tt := range []struct {
		password Secret
		up       bool
		held     bool
	}{
		{"abracadabra", true, false},
		{"abracadabra", false, true},
		{"", true, true},
	} {
		before := Desired{Global: global, Sessions: []Session{{Key: "k", Opening: Opening{Password: tt.password}}}}
		after := Desired{Global: global, Sessions: []Session{{Key: "k", Opening: Opening{HeldDown: "gone"}, MaxPrefixes: 7}}}
		now, _ := Stage(before, after, func(string) bool { return tt.up }, "k")
		s := now.Sessions[0]
		if (s.HeldDown != "") != tt.held || !tt.held && s.Password != tt.password || s.MaxPrefixes != 7 {
			t.Errorf("%+v: got %+v", tt, s)
		}
	}
}

// Permitting what waits, one after the other, ends with what is wanted.
func TestStageComesToAnEnd(t *testing.T) {
	nodes := []*fabric.Peer{node(1, "role=reflector"), node(2, "role=reflector"), node(3), node(4)}
	before := parsed(t, dualStack+reflectors+tors)
	after := parsed(t, dualStack+strings.ReplaceAll(reflectors, "192.0.2.1", "192.0.2.2")+strings.ReplaceAll(tors, "asn: external", `asn: "65001"`))
	plan := func(o Objects, asn string) Desired {
		o.Spec.BGP.ASN = asn
		f := factsOf(o, nodes[0], nodes...)
		f.Gateways = []netip.Addr{addr("198.18.0.254"), addr("198.18.1.254")}
		d, problems := Plan(f)
		if len(problems) != 0 {
			t.Fatal(problems)
		}
		return d
	}
	for _, asn := range []string{"65000", "65002"} {
		now, wanted := plan(before, "65000"), plan(after, asn)
		turns := 0
		for permitted := ""; ; turns++ {
			var waiting []Waiting
			now, waiting = Stage(now, wanted, func(string) bool { return true }, permitted)
			if len(waiting) == 0 {
				break
			}
			if turns > 20 {
				t.Fatalf("%v still wait", waiting)
			}
			permitted = waiting[0].Key
		}
		if !reflect.DeepEqual(now, wanted) {
			t.Errorf("AS %s: got\n%s\nwant\n%s", asn, describe(now, nil), describe(wanted, nil))
		}
		if turns == 0 {
			t.Errorf("AS %s: nothing waited", asn)
		}
	}
}

func TestDiffResets(t *testing.T) {
	nodes := []*fabric.Peer{node(1, "role=reflector", "rack=r1"), node(2, "role=reflector", "rack=r2"), node(3, "rack=r1"), node(4, "rack=r2"), node(5)}
	base, oneAS := dualStack+tors, strings.ReplaceAll(dualStack, "perNode", `"65000"`)
	var text strings.Builder
	for _, tt := range []struct{ name, before, after string }{
		{"nothing changes", base, base},
		{"what can be done in place", base, base + "  description: new\n  maxPrefixes: 7\n  timers: {hold: 30s}\n  communities: [\"65000:1\"]\n  import: [in]\n"},
		{"a password", base, base + "  auth: {md5File: /etc/weft/bgp/tors}\n"},
		{"another password, and GTSM", base + "  auth: {md5File: /a}\n", base + "  auth: {md5File: /b}\n  gtsm: 1\n"},
		{"one rack only", base, strings.ReplaceAll(base, "nodes: {}", "nodes: {rack: r1}")},
		{"a new object", base, base + mesh},
		{"an object goes", strings.ReplaceAll(base, "perNode", `"65000"`) + mesh, strings.ReplaceAll(base, "perNode", `"65000"`)},
		{"one AS for all", base, strings.ReplaceAll(base, "perNode", `"65000"`)},
		{"another AS for all", strings.ReplaceAll(base, "perNode", `"65000"`), strings.ReplaceAll(base, "perNode", `"65001"`)},
		{"cluster id", strings.ReplaceAll(dualStack, "perNode", `"65000"`) + reflectors, strings.ReplaceAll(dualStack, "perNode", `"65000"`) + strings.ReplaceAll(reflectors, "192.0.2.1", "192.0.2.2")},
		{"another name", oneAS + mesh, oneAS + strings.ReplaceAll(mesh, "name: mesh", "name: all")},
		{"a mesh with GTSM", base + strings.ReplaceAll(mesh, "internal", "external"), base + strings.ReplaceAll(mesh, "internal", "external") + "  gtsm: 1\n"},
		{"two objects", base + strings.ReplaceAll(mesh, "internal", "external"), base + "  gtsm: 1\n" + strings.ReplaceAll(mesh, "internal", "external") + "  allowOwnASN: 1\n"},
		{"a range goes", dualStack + ranges, dualStack},
		{"no longer bgp", base, strings.ReplaceAll(base, "backend: bgp", "backend: vxlan")},
		{"bgp from now on", strings.ReplaceAll(base, "backend: bgp", "backend: vxlan"), base},
		{"nodes that cannot speak yet", strings.ReplaceAll(base, "asn: perNode", "asn: perLabel, asns: {r1: 65101}"), strings.ReplaceAll(base, "asn: perNode", "asn: perLabel, asns: {r1: 65102, r2: 65103}")},
		{"the first objects of all", "", base},
	} {
		var before Objects
		if tt.before != "" {
			before = parsed(t, tt.before)
		}
		fmt.Fprintf(&text, "# %s\n%s\n", tt.name, strings.Join(append(DiffResets(before, parsed(t, tt.after), nodes), ""), "\n"))
	}
	golden.Compare(t, "diff-resets.txt", text.String())
}

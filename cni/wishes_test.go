package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/fabric"
)

// asked parses a request from its parts.
func asked(t *testing.T, conf, args string) (wishes, error) {
	t.Helper()
	c, err := parseConf([]byte(`{"cniVersion":"1.1.0","name":"weft"` + conf + `}`))
	if err == nil {
		err = c.complete()
	}
	if err != nil {
		return wishes{}, err
	}
	return parseWishes(&request{conf: c, args: args})
}

// everywhere names another address in each source, in the order of precedence.
var everywhere = [...]string{
	`"runtimeConfig":{"ips":["10.0.0.1"],"mac":"02:00:00:00:00:01"`,
	`"io.kubernetes.cri.pod-annotations":{"weft/ips":"10.0.0.2","weft/mac":"02:00:00:00:00:02","other":"x"}`,
	`"args":{"cni":{"ips":["10.0.0.3/24"],"mac":"02:00:00:00:00:03"},"more":7}`,
	`IP=10.0.0.4;MAC=02:00:00:00:00:04`,
}

func TestPrecedence(t *testing.T) {
	for first := range everywhere {
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			var parts [len(everywhere)]string
			copy(parts[first:], everywhere[first:])
			var conf string
			switch {
			case parts[0] != "":
				conf = "," + parts[0] + "," + parts[1] + "}"
			case parts[1] != "":
				conf = `,"runtimeConfig":{` + parts[1] + "}"
			}
			if parts[2] != "" {
				conf += "," + parts[2]
			}
			got, err := asked(t, conf, parts[3])
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("[10.0.0.%d] 02:00:00:00:00:0%d", first+1, first+1)
			if s := fmt.Sprint(got.ips, " ", got.mac); s != want {
				t.Errorf("got %s, want %s", s, want)
			}
		})
	}
}

// A source that names one family has the say over both: what two sources say
// together nobody has asked for.
func TestSourcesAreNotMixed(t *testing.T) {
	got, err := asked(t, `,"runtimeConfig":{"ips":["fd00::9"]}`, "IP=10.0.0.4;MAC=02:00:00:00:00:04")
	if err != nil || fmt.Sprint(got.ips) != "[fd00::9]" || got.mac.String() != "02:00:00:00:00:04" {
		t.Errorf("%v: %+v", err, got)
	}
}

func TestWishes(t *testing.T) {
	ip := netip.MustParseAddr
	const annotated = `,"runtimeConfig":{"io.kubernetes.cri.pod-annotations":{%s}}`
	tests := []struct {
		name, conf, args string
		want             wishes
	}{
		{"nothing", "", "", wishes{}},
		{"null everywhere", `,"runtimeConfig":null,"args":null,"sysctls":null,"macSpoofCheck":null`, "", wishes{}},
		{"both families", `,"runtimeConfig":{"ips":["fd00::9/64","10.0.0.9/24"]}`, "", wishes{ips: []netip.Addr{ip("fd00::9"), ip("10.0.0.9")}}},
		{"both families in CNI_ARGS", "", "IP=10.0.0.9,fd00::9", wishes{ips: []netip.Addr{ip("10.0.0.9"), ip("fd00::9")}}},
		{"IPv4 in IPv6's clothes", `,"args":{"cni":{"ips":["::ffff:10.0.0.9"]}}`, "", wishes{ips: []netip.Addr{ip("10.0.0.9")}}},
		{"empty lists", `,"runtimeConfig":{"ips":[],"mac":""},"args":{"cni":{"ips":null}}`, "IP=;MAC=", wishes{}},
		{"the pod", "", "IgnoreUnknown=1;K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web-0;K8S_POD_UID=8d0e;K8S_POD_INFRA_CONTAINER_ID=a=b;", wishes{pod: record.Pod{Namespace: "prod", Name: "web-0", UID: "8d0e"}}},
		{"a key twice", "", "K8S_POD_NAME=a;K8S_POD_NAME=b", wishes{pod: record.Pod{Name: "b"}}},
		{"labels as a list", `,"args":{"cni":{"labels":[{"key":"app","value":"web"},{"key":"empty"}]}}`, "", wishes{labels: map[string]string{"app": "web", "empty": ""}}},
		{"labels as an object", `,"args":{"cni":{"labels":{"app":"web"}}}`, "", wishes{labels: map[string]string{"app": "web"}}},
		{"labels in an annotation", fmt.Sprintf(annotated, `"weft/labels":"app=web, tier=front,note=a=b"`), "", wishes{labels: map[string]string{"app": "web", "tier": "front", "note": "a=b"}}},
		{"annotations over arguments", fmt.Sprintf(annotated, `"weft/labels":"app=new"`) + `,"args":{"cni":{"labels":{"app":"old","tier":"front"}}}`, "", wishes{labels: map[string]string{"app": "new", "tier": "front"}}},
		{"sticky by annotation", fmt.Sprintf(annotated, `"weft/sticky":"true"`), "", wishes{sticky: true}},
		{"sticky by option", `,"sticky":true`, "", wishes{sticky: true}},
		{"not sticky by annotation", fmt.Sprintf(annotated, `"weft/sticky":"false"`) + `,"sticky":true`, "", wishes{}},
		{"aliases as a list", `,"runtimeConfig":{"aliases":["web","db.example"]}`, "", wishes{aliases: []string{"web", "db.example"}}},
		{"aliases by network", `,"runtimeConfig":{"aliases":{"weft":["web"],"other":["x"]}}`, "", wishes{aliases: []string{"web"}}},
		{"what is for others", `,"runtimeConfig":{"portMappings":[{"HostPort":1}],"dns":{"Servers":["x"]}},"unknown":{}`, "", wishes{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := asked(t, tt.conf, tt.args)
			if err != nil {
				t.Fatal(err)
			}
			opts := []cmp.Option{cmp.AllowUnexported(wishes{}), cmpopts.EquateComparable(netip.Addr{}, fabric.MAC{}), cmpopts.EquateEmpty()}
			if diff := cmp.Diff(tt.want, got, opts...); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestRefusedWishes(t *testing.T) {
	const annotated = `,"runtimeConfig":{"io.kubernetes.cri.pod-annotations":{%s}}`
	tests := []struct {
		name, conf, args string
		code             uint
		words            string
	}{
		{"no address", `,"runtimeConfig":{"ips":["10.0.0.300"]}`, "", 7, `runtimeConfig: "10.0.0.300" is not an IP address`},
		{"no address in an annotation", fmt.Sprintf(annotated, `"weft/ips":"10.0.0.1,"`), "", 7, `annotation: "" is not an IP address`},
		{"no address in CNI_ARGS", "", "IP=x", 4, `CNI_ARGS: "x" is not an IP address`},
		{"address with a zone", `,"runtimeConfig":{"ips":["fe80::1%eth0"]}`, "", 7, "not an IP address"},
		{"length out of range", `,"runtimeConfig":{"ips":["10.0.0.1/33"]}`, "", 7, "not an IP address"},
		{"two of one family", `,"args":{"cni":{"ips":["10.0.0.1","::ffff:10.0.0.2"]}}`, "", 7, "args.cni: 10.0.0.1 and 10.0.0.2 are of one family"},
		{"ips is no list", `,"runtimeConfig":{"ips":"10.0.0.1"}`, "", 6, "runtimeConfig"},
		{"no MAC", "", "MAC=02:00", 4, `CNI_ARGS: "02:00" is not a MAC address`},
		{"group address", `,"runtimeConfig":{"mac":"01:00:5e:00:00:01"}`, "", 7, "01:00:5e:00:00:01 is the address of no single interface"},
		{"zero MAC", "", "MAC=00:00:00:00:00:00", 4, "no single interface"},
		{"labels without value", fmt.Sprintf(annotated, `"weft/labels":"app"`), "", 7, `weft/labels: "app" is not KEY=VALUE`},
		{"label without key", fmt.Sprintf(annotated, `"weft/labels":"=web"`), "", 7, `label ""="web"`},
		{"label of two lines", `,"args":{"cni":{"labels":{"app":"a\nb"}}}`, "", 7, "not plain text"},
		{"labels are a number", `,"args":{"cni":{"labels":7}}`, "", 6, "args"},
		{"labels too long", `,"args":{"cni":{"labels":{` + manyLabels(100) + `}}}`, "", 7, "too long"},
		{"neither true nor false", fmt.Sprintf(annotated, `"weft/sticky":"1"`), "", 7, `weft/sticky: "1"`},
		{"alias with a space", `,"runtimeConfig":{"aliases":["a b"]}`, "", 7, "alias"},
		{"annotations are no texts", fmt.Sprintf(annotated, `"x":1`), "", 6, "runtimeConfig"},
		{"pair without a key", "", "=x", 4, "CNI_ARGS"},
		{"pod with a slash", "", "K8S_POD_NAME=a/b", 4, "K8S_POD_NAME"},
		{"namespace too long", "", "K8S_POD_NAMESPACE=" + strings.Repeat("x", 300), 4, "K8S_POD_NAMESPACE"},
		{"pod with an escape sequence", "", "K8S_POD_NAME=a\x1b[2J", 4, "K8S_POD_NAME"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := asked(t, tt.conf, tt.args)
			expect(t, err, tt.code, tt.words)
		})
	}
}

func manyLabels(n int) string {
	var pairs []string
	for i := range n {
		pairs = append(pairs, fmt.Sprintf("%q:%q", fmt.Sprint("l", i), strings.Repeat("x", 1000)))
	}
	return strings.Join(pairs, ",")
}

// expect fails unless err is an error document with the code and the words.
func expect(t *testing.T, err error, code uint, words string) {
	t.Helper()
	checkError(t, err)
	var e *types.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Msg, words) {
		t.Errorf("got %#v, want code %d with %q", err, code, words)
	}
}

func TestOptions(t *testing.T) {
	const v4, v6 = "10.1.2.0/24", "fd00::/64"
	tests := []struct {
		name, conf string
		node       int // MTU
		subnets    []string
		mtu        int
		code       uint // 0: none
		words      string
	}{
		{"none", "", 1450, []string{v4, v6}, 1450, 0, ""},
		{"smaller MTU", `,"mtu":1300`, 1450, []string{v4, v6}, 1300, 0, ""},
		{"smallest MTU", `,"mtu":576`, 1450, []string{v4}, 576, 0, ""},
		{"smaller than IPv6 allows", `,"mtu":1279`, 1450, []string{v4, v6}, 0, 7, "IPv6 needs (1280)"},
		{"smaller than IPv4 allows", `,"mtu":575`, 1450, []string{v4}, 0, 7, "575"},
		{"negative", `,"mtu":-1`, 1450, []string{v4}, 0, 7, "-1"},
		{"larger than the node's", `,"mtu":1451`, 1450, []string{v4}, 0, 7, "this node's 1450"},
		{"a text", `,"mtu":"1400"`, 1450, []string{v4}, 0, 6, "mtu"},
		{"sysctls", `,"sysctls":{"net.core.somaxconn":"500","net.ipv4.conf.IFNAME.arp_filter":"1"}`, 1450, []string{v4}, 1450, 0, ""},
		{"the host's sysctl", `,"sysctls":{"kernel.panic":"1"}`, 1450, []string{v4}, 0, 7, `"kernel.panic"`},
		{"sysctl with a way out", `,"sysctls":{"net.ipv4.../../kernel/panic":"1"}`, 1450, []string{v4}, 0, 7, "net.NAME"},
		{"sysctl of two dots", `,"sysctls":{"net..core.x":"1"}`, 1450, []string{v4}, 0, 7, "net.NAME"},
		{"sysctl of a number", `,"sysctls":{"net.core.somaxconn":500}`, 1450, []string{v4}, 0, 6, "sysctls"},
		{"ipam", `,"ipam":{"type":"host-local"}`, 1450, []string{v4}, 0, 2, "host-local"},
		{"empty ipam", `,"ipam":{}`, 1450, []string{v4}, 1450, 0, ""},
		{"relative log", `,"logFile":"weft.log"`, 1450, []string{v4}, 0, 7, "absolute"},
		{"unknown level", `,"logFile":"/x","logLevel":"loud"`, 1450, []string{v4}, 0, 7, `"loud"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parseConf([]byte(`{"cniVersion":"1.1.0","name":"weft"` + tt.conf + `}`))
			if err == nil {
				err = c.complete()
			}
			var subnets []netip.Prefix
			for _, s := range tt.subnets {
				subnets = append(subnets, netip.MustParsePrefix(s))
			}
			mtu := 0
			if err == nil {
				mtu, err = c.options.mtu(tt.node, subnets)
			}
			if tt.code != 0 {
				expect(t, err, tt.code, tt.words)
			} else if err != nil || mtu != tt.mtu {
				t.Errorf("%v: mtu %d, want %d", err, mtu, tt.mtu)
			}
		})
	}
}

func TestGuardIsTheDefault(t *testing.T) {
	for conf, want := range map[string]bool{`{}`: true, `{"macSpoofCheck":true}`: true, `{"macSpoofCheck":null}`: true, `{"macSpoofCheck":false}`: false} {
		var o options
		if err := json.Unmarshal([]byte(conf), &o); err != nil || o.guarded() != want {
			t.Errorf("%s: %v, guarded %t", conf, err, o.guarded())
		}
	}
}

// Who detaches pods is not kept from it by what only matters to ADD.
func TestDelIgnoresOptions(t *testing.T) {
	if _, err := parseConf([]byte(`{"cniVersion":"1.1.0","name":"weft","mtu":"x","sysctls":7,"ipam":{"type":"a"},"logLevel":"loud",
		"runtimeConfig":7,"args":"x","prevResult":{"ips":3},"dns":false}`)); err != nil {
		t.Error(err)
	}
}

func TestTraceparent(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for in, want := range map[string]string{
		good: good, "": "", "01" + good[2:]: "01" + good[2:], "cc" + good[2:] + "-more": "cc" + good[2:] + "-more",
		good + "-more":           "", // version 00 has no more
		"cc" + good[2:] + "more": "",
		"ff" + good[2:]:          "",
		strings.ToUpper(good):    "",
		good[:54]:                "",
		"00-" + strings.Repeat("0", 32) + good[35:]:      "",
		good[:36] + strings.Repeat("0", 16) + "-01":      "",
		"cc" + good[2:] + "-a\nb":                        "",
		"cc" + good[2:] + "-" + strings.Repeat("x", 300): "",
	} {
		if got := traceparent(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

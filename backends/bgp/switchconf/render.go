package switchconf

import (
	"embed"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/weft-net/weft/fabric"
)

//go:embed templates/*.tmpl
var templates embed.FS

// The kinds of switch software.
const (
	FRR   = "frr"   // FRRouting 8 or newer
	BIRD  = "bird"  // BIRD 2
	EOS   = "eos"   // Arista
	NXOS  = "nxos"  // Cisco Nexus 9000
	Junos = "junos" // Juniper
	SONiC = "sonic" // with FRR configured by files
)

// Kinds returns what Render can write.
func Kinds() []string { return []string{FRR, BIRD, EOS, NXOS, Junos, SONiC} }

// Render writes a switch's configuration as one kind of switch software reads
// it. FRR's and BIRD's are complete but for interfaces; all can be merged into
// what the switch has.
func Render(kind string, s Switch) (string, error) {
	if !slices.Contains(Kinds(), kind) {
		return "", fmt.Errorf("%q is no kind of switch, want one of %s", kind, strings.Join(Kinds(), ", "))
	}
	t, err := template.New("").Funcs(functions()).ParseFS(templates, "templates/*.tmpl")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.ExecuteTemplate(&b, kind+".tmpl", s); err != nil {
		return "", fmt.Errorf("%s configuration: %w", kind, err)
	}
	return strings.TrimRight(b.String(), "\n") + "\n", nil
}

func functions() template.FuncMap {
	return template.FuncMap{
		"families": func() []fabric.Family { return fabric.Families[:] },
		"seconds":  func(d time.Duration) int { return int(d / time.Second) },
		"lines":    wrapped,
		"seq":      func(i int) int { return 10 * (i + 1) },
		"number":   func(f fabric.Family) int { return int(f) },
		"ip": func(f fabric.Family) string {
			return map[fabric.Family]string{fabric.IPv4: "ip", fabric.IPv6: "ipv6"}[f]
		},
		"inet": func(f fabric.Family) string {
			return map[fabric.Family]string{fabric.IPv4: "inet", fabric.IPv6: "inet6"}[f]
		},
		"isIPv6":     func(f fabric.Family) bool { return f == fabric.IPv6 },
		"masked":     func(p netip.Prefix) netip.Prefix { return p.Masked() },
		"identifier": identifier,
		"sub":        func(a int, b uint8) int { return a - int(b) },
		"birdName":   birdNames{}.of,
		"commas":     commas,
	}
}

// wrapped breaks a text into lines that fit a terminal behind a comment sign.
func wrapped(text string) []string {
	const width = 76
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case len(*last)+1+len(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

// birdNames are the names of one configuration for BIRD, where protocols,
// templates and filters share them, each with what it stands for.
type birdNames map[string]string

// of makes a name of a group's, a node's and the like, always the same for one
// thing (its kind, its address), and never one that another thing has: names of
// nodes and groups that differ in a sign, or that meet where they are joined,
// look alike here.
func (n birdNames) of(thing any, parts ...any) string {
	whose := fmt.Sprintf("%v %q", thing, parts)
	text := []string{"weft"}
	for _, p := range parts {
		text = append(text, identifier(fmt.Sprint(p)))
	}
	want := strings.ReplaceAll(strings.Join(text, "-"), "-", "_")
	name := unused(want, "_", func(s string) bool { return birdOwn(s) || n[s] != "" && n[s] != whose })
	n[name] = whose
	return name
}

// birdOwn reports whether the template itself has a name, as it is there.
func birdOwn(name string) bool {
	return slices.Contains([]string{
		"weft_device", "weft_radv", "weft_kernel_4", "weft_kernel_6",
		"weft_from_nodes_4", "weft_from_nodes_6", "weft_to_nodes_4", "weft_to_nodes_6",
	}, name)
}

// unused is a name that is not taken: the one wanted, or that with a number.
func unused(want, sign string, taken func(string) bool) string {
	name := want
	for i := 2; taken(name); i++ {
		name = fmt.Sprint(want, sign, i)
	}
	return name
}

func commas(numbers []uint32) string {
	text := make([]string, len(numbers))
	for i, n := range numbers {
		text[i] = strconv.FormatUint(uint64(n), 10)
	}
	return strings.Join(text, ", ")
}

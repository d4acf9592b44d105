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
		"families":   func() []fabric.Family { return fabric.Families[:] },
		"seconds":    func(d time.Duration) int { return int(d / time.Second) },
		"lines":      wrapped,
		"seq":        func(i int) int { return 10 * (i + 1) },
		"underscore": func(s string) string { return strings.ReplaceAll(s, "-", "_") },
		"number":     func(f fabric.Family) int { return int(f) },
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
		"birdName":   birdName,
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

// birdName makes a protocol's name of a group's and a node's.
func birdName(group, node string) string {
	return "weft_" + strings.ReplaceAll(identifier(group+"-"+node), "-", "_")
}

func commas(numbers []uint32) string {
	text := make([]string, len(numbers))
	for i, n := range numbers {
		text[i] = strconv.FormatUint(uint64(n), 10)
	}
	return strings.Join(text, ", ")
}

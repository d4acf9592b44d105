package paths

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/golden"
)

var (
	direct = fabric.Path{Kind: fabric.PathDirect}
	bgp    = fabric.Path{Kind: fabric.PathBGP}
	vxlan  = fabric.Path{Kind: fabric.PathVXLAN}
	newer  = fabric.Path{Kind: fabric.PathVXLAN, Generation: 1}

	usual = []fabric.Path{direct, bgp, vxlan}
	key   = Key{Peer: "node-b", Family: fabric.IPv4}
	start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
)

// offers are made of words like "direct=up/answers bgp=doubtful vxlan1=up"; a
// way that is not named is not offered.
func offers(text string) (out []Offer) {
	for _, word := range strings.Fields(text) {
		name, rest, _ := strings.Cut(word, "=")
		state, verdict, _ := strings.Cut(rest, "/")
		out = append(out, Offer{
			Path:    map[string]fabric.Path{"direct": direct, "bgp": bgp, "vxlan": vxlan, "vxlan1": newer}[name],
			State:   map[string]State{"gone": Gone, "doubtful": Doubtful, "up": Up}[state],
			Verdict: map[string]Verdict{"": Unknown, "answers": Answers, "silent": Silent}[verdict],
			Reason:  map[string]string{"gone": "no peer announces it", "doubtful": "no session is up", "up": "by eth0"}[state],
		})
	}
	return out
}

func name(p fabric.Path) string {
	if p.Kind == "" {
		return "none"
	}
	return strings.TrimSuffix(fmt.Sprintf("%s%d", p.Kind, p.Generation), "0")
}

// life is one key's, with the time that passes.
type life struct {
	*Chooser
	prefer []fabric.Path
	now    time.Time
	offers []Offer
	choice Choice
}

func newLife() *life { return &life{Chooser: New(), prefer: usual, now: start} }

func (l *life) choose() Choice {
	l.choice = l.Choose(key, l.prefer, l.offers, l.now)
	return l.choice
}

// pass lets time pass, choosing whenever the Chooser says that it is time.
func (l *life) pass(d time.Duration, seen func(Choice)) {
	end := l.now.Add(d)
	for {
		due, next := l.Due(l.now)
		if len(due) > 0 {
			seen(l.choose())
			continue
		}
		if next.IsZero() || next.After(end) {
			l.now = end
			return
		}
		l.now = next
	}
}

// TestScenarios plays lives that happen, and shows each choice with its reason.
func TestScenarios(t *testing.T) {
	quiet := "direct=gone bgp=up/answers vxlan=up/answers"
	tests := []struct {
		name  string
		steps []string // offers, "pass D", "prefer WAYS" or "adopt WAY"
	}{
		{"first-choice", []string{"direct=up bgp=up vxlan=up/answers"}},
		{"adopted-and-as-it-was", []string{"adopt bgp", "bgp=up vxlan=up"}},
		{"adopted-but-better-is-there", []string{"adopt vxlan", "bgp=up vxlan=up", "pass 5s", "bgp=up/answers vxlan=up"}},
		{"adopted-and-gone", []string{"adopt bgp", "vxlan=up"}},
		{"no-probes-at-all", []string{"bgp=gone vxlan=up", "bgp=up vxlan=up", "pass 1m"}},
		{"bgp-comes-late", []string{"bgp=gone vxlan=up/answers", "bgp=up vxlan=up/answers", "pass 1s", "bgp=up/answers vxlan=up/answers"}},
		{"sessions-lost-and-back", []string{quiet, "bgp=doubtful/answers vxlan=up/answers", "pass 30s", quiet, "pass 1m"}},
		{"lost-again-and-again", []string{
			quiet, "vxlan=up/answers", "pass 1s", quiet, "pass 1m", "vxlan=up/answers", quiet, "pass 1m",
			"vxlan=up/answers", quiet, "pass 1m", "vxlan=up/answers", quiet, "pass 11m", "vxlan=up/answers", quiet, "pass 1m",
		}},
		{"swallows-big-packets", []string{"direct=up/answers vxlan=up/answers", "direct=up/silent vxlan=up/answers", "pass 1m", "direct=up/answers vxlan=up/answers", "pass 5s"}},
		{"host-dies", []string{
			"direct=up/answers vxlan=up/answers", "direct=up/silent vxlan=up/answers", "direct=up/silent vxlan=up/silent",
			"direct=gone vxlan=gone", "pass 1m", "direct=up vxlan=up/answers", "pass 1m",
		}},
		{"doubtful-is-better-than-nothing", []string{"bgp=doubtful", "bgp=doubtful vxlan=up", "bgp=doubtful vxlan=up/silent", "bgp=doubtful/silent vxlan=up/silent"}},
		{"ordered-elsewhere", []string{
			"prefer vxlan", "vxlan=up/answers vxlan1=up", "prefer vxlan1", "vxlan=up/answers vxlan1=up", "pass 5s",
			"vxlan=up/answers vxlan1=up/answers", "prefer vxlan", "vxlan=up/answers vxlan1=up/answers",
		}},
		{"ordered-to-what-was-just-lost", []string{
			"prefer vxlan", "bgp=up/answers vxlan=up/answers", "bgp=gone vxlan=up/answers", "bgp=up/answers vxlan=up/answers",
			"prefer bgp vxlan", "bgp=up/answers vxlan=up/answers",
		}},
		{"taken-away-and-given-back-is-not-lost", []string{
			"prefer bgp vxlan", "bgp=up/answers vxlan=up/answers",
			"prefer vxlan", "vxlan=up/answers", "prefer bgp vxlan", "bgp=up/answers vxlan=up/answers",
			"prefer vxlan", "vxlan=up/answers", "prefer bgp vxlan", "bgp=up/answers vxlan=up/answers",
			"bgp=gone vxlan=up/answers", "bgp=up/answers vxlan=up/answers", "pass 1m",
		}},
		{"ordered-to-what-has-been-there-unasked", []string{"bgp=gone vxlan=up/answers", "bgp=up vxlan=up/answers", "prefer vxlan", "bgp=up vxlan=up/answers", "pass 1m", "prefer bgp", "bgp=up vxlan=up/answers", "pass 1m"}},
		{"ordered-while-waited-for", []string{"bgp=gone vxlan=up/answers", "bgp=up vxlan=up/answers", "pass 6s", "prefer bgp vxlan", "bgp=up vxlan=up/answers", "pass 1m"}},
		{"lost-to-what-answers", []string{"bgp=up direct=gone vxlan=up/answers", "direct=up vxlan=up/answers", "pass 1m"}},
		{"ordered-to-what-is-not-there", []string{"prefer vxlan", "vxlan=up", "prefer bgp", "bgp=gone vxlan=up", "bgp=gone vxlan=doubtful", "bgp=gone", "bgp=up"}},
		{"nothing-may-be-used", []string{"prefer", ""}},
	}
	var text strings.Builder
	for _, tt := range tests {
		fmt.Fprintf(&text, "# %s\n", tt.name)
		l := newLife()
		for _, step := range tt.steps {
			l.play(&text, step)
		}
		fmt.Fprintln(&text)
	}
	golden.Compare(t, "scenarios.txt", text.String())
}

func (l *life) play(out *strings.Builder, step string) {
	show := func(c Choice) {
		fmt.Fprintf(out, "%6s   -> %s: %s", l.now.Sub(start), name(c.Path), c.Reason)
		if c.Next.Kind != "" {
			fmt.Fprintf(out, " (next %s)", name(c.Next))
		}
		if c.Switches > 0 {
			fmt.Fprintf(out, " [%d]", c.Switches)
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "%6s %s\n", l.now.Sub(start), step)
	verb, rest, _ := strings.Cut(step, " ")
	switch verb {
	case "pass":
		d, _ := time.ParseDuration(rest)
		l.pass(d, show)
	case "adopt":
		l.Adopt(key, offers(rest + "=up")[0].Path)
	case "prefer":
		l.prefer = nil
		for _, w := range strings.Fields(rest) {
			l.prefer = append(l.prefer, offers(w + "=up")[0].Path)
		}
	default:
		l.offers = offers(step)
		show(l.choose())
	}
}

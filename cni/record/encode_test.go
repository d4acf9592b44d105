package record

import (
	"encoding/json"
	"testing"
	"time"
)

// TestEncode: what is written by hand is what encoding/json writes.
func TestEncode(t *testing.T) {
	whole := example("c1")
	whole.Isolated, whole.Hairpin, whole.Labels["a<b"] = true, true, "\"x\"\n"
	whole.Aliases = append(whole.Aliases, "db")
	for _, r := range []*Record{whole, {Version: 1, Addrs: whole.Addrs[:1], Created: time.Date(2026, 11, 21, 4, 0, 0, 0, time.UTC)}} {
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.appendTo(nil); string(got) != string(want) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

package fabric

import (
	"testing"
	"time"
)

func TestDurationTextIsShortAndReadBack(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                               "0s",
		15 * time.Second:                "15s",
		10 * time.Minute:                "10m",
		24 * time.Hour:                  "24h",
		100 * time.Hour:                 "100h",
		90 * time.Minute:                "1h30m",
		time.Hour + time.Second:         "1h0m1s",
		1500 * time.Millisecond:         "1.5s",
		20*time.Minute + 30*time.Second: "20m30s",
	} {
		if got := Duration(d).String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		var back Duration
		if err := back.UnmarshalText([]byte(want)); err != nil || time.Duration(back) != d {
			t.Errorf("%s reads back as %v, %v", want, back, err)
		}
	}
}

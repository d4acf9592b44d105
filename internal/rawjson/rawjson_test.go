package rawjson

import (
	"encoding/json"
	"testing"
)

func TestObject(t *testing.T) {
	type object struct {
		A    string   `json:"a,omitempty"`
		B    int      `json:"b,omitempty"`
		C    bool     `json:"c,omitempty"`
		List []string `json:"list"`
	}
	for _, o := range []object{{List: []string{}}, {A: "x", B: -7, C: true, List: []string{"one", "two"}}} {
		want, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		got := True(Int(Text([]byte{'{'}, "a", o.A), "b", o.B), "c", o.C)
		got = append(Key(got, "list"), '[')
		for _, s := range o.List {
			got = String(Next(got), s)
		}
		if got = append(got, "]}"...); string(got) != string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func FuzzString(f *testing.F) {
	for _, s := range []string{"", "plain", `"\`, "<&>", "\x00\x7f\xff", "é\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := String([]byte("["), s); string(got) != "["+string(want) {
			t.Errorf("%q: got %s, want %s", s, got[1:], want)
		}
	})
}

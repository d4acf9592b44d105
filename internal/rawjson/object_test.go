package rawjson

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

type example struct {
	A    string          `json:"a"`
	B    *int            `json:"b"`
	List []string        `json:"list"`
	Raw  json.RawMessage `json:"raw"`
}

func (e *example) decode(data []byte) error {
	o, err := Parse(data)
	if err != nil {
		return err
	}
	return o.Decode(Member{"a", &e.A}, Member{"b", &e.B}, Member{"list", &e.List}, Member{"raw", &e.Raw})
}

var documents = []string{
	`{"a":"x","b":7,"list":["y"],"raw":{"z":[1]},"other":{}}`, `{"a":null,"b":null,"list":null,"raw":null}`,
	`{"A":"x","LIST":["y"]}`, `{"A":"x","a":"y"}`, `{"a":"x","a":"y"}`, `{"a":7}`, `{"b":"7"}`, `{"list":{}}`, `{"":"x"}`, `null`, `{}`, `[]`, `7`, ``, `{`, `{}x`,
}

func TestDecode(t *testing.T) {
	for _, doc := range documents {
		checkDecode(t, []byte(doc))
	}
	if err := new(example).decode([]byte(`{"b":"7"}`)); err == nil || !strings.Contains(err.Error(), "b: ") {
		t.Errorf("got %v, want an error that names the member", err)
	}
}

// checkDecode compares with encoding/json.
func checkDecode(t *testing.T, data []byte) {
	t.Helper()
	var got, want example
	err, wantErr := got.decode(data), json.Unmarshal(data, &want)
	if (err == nil) != (wantErr == nil) {
		t.Errorf("%s: got %v, want %v", data, err, wantErr)
	}
	if err == nil && !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %+v, want %+v", data, got, want)
	}
}

// Names that are there in several spellings are encoding/json's affair.
func FuzzDecode(f *testing.F) {
	for _, doc := range documents {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var members map[string]json.RawMessage
		seen := map[string]bool{}
		if json.Unmarshal(data, &members) == nil {
			for name := range members {
				if seen[strings.ToLower(name)] {
					return
				}
				seen[strings.ToLower(name)] = true
			}
		}
		checkDecode(t, data)
	})
}

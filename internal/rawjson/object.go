package rawjson

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Object is a JSON object whose members are not decoded yet. Reading the few
// that are there one by one spares encoding/json the look at every field that a
// struct could have.
type Object map[string]json.RawMessage

// Member is a member that is wanted, and a pointer to where its value goes.
type Member struct {
	Name string
	To   any
}

// Parse parses an object; of null it is one without members.
func Parse(data []byte) (o Object, err error) {
	err = json.Unmarshal(data, &o)
	return o, err
}

// Decode decodes those of the members that there are, in their order here, until
// one has not the type that it should. As in encoding/json null changes nothing,
// and the case of letters does not matter where no name is the very same.
func (o Object) Decode(members ...Member) error {
	for _, m := range members {
		raw, ok := o[m.Name]
		if !ok {
			raw = o.fold(m.Name)
		}
		if raw == nil {
			continue
		}
		if err := json.Unmarshal(raw, m.To); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	return nil
}

// fold finds a member whatever the case of its letters; of several the first by
// the alphabet.
func (o Object) fold(name string) (value json.RawMessage) {
	first := ""
	for n, v := range o {
		if strings.EqualFold(n, name) && (value == nil || n < first) {
			first, value = n, v
		}
	}
	return value
}

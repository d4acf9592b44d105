package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what a request may say of its pod, in bytes. Names and labels have
// those of Kubernetes, with room for others' longer values; all texts of one
// attachment together fit its record with ease.
const (
	maxName  = 253
	maxKey   = 253 + 1 + 63
	maxValue = 1024
	maxTexts = 64 << 10
)

// aliases are further names of the container: a list, or one for each network
// as podman sends them.
type aliases struct {
	list []string
	each map[string][]string // by network
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *aliases) UnmarshalJSON(data []byte) error {
	if data[0] == '{' {
		return json.Unmarshal(data, &a.each)
	}
	return json.Unmarshal(data, &a.list)
}

// of returns the aliases in a network.
func (a *aliases) of(network string) []string {
	if a.each != nil {
		return a.each[network]
	}
	return a.list
}

// labels describe the pod: a list of keys with values, as the CNI conventions
// have it, or an object.
type labels map[string]string

// UnmarshalJSON implements json.Unmarshaler.
func (l *labels) UnmarshalJSON(data []byte) error {
	if data[0] != '[' {
		return json.Unmarshal(data, (*map[string]string)(l))
	}
	var pairs []struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	if err := json.Unmarshal(data, &pairs); err != nil {
		return err
	}
	*l = make(labels, len(pairs))
	for _, p := range pairs {
		(*l)[p.Key] = p.Value
	}
	return nil
}

// checkTexts checks labels and aliases. Which labels can be selected by is the
// selectors' affair; here it is enough that they can be kept and printed.
func checkTexts(labels map[string]string, aliases []string) error {
	size := 0
	for key, value := range labels {
		if key == "" || !isText(key, maxKey) || value != "" && !isText(value, maxValue) {
			return fmt.Errorf("label %.60q=%.60q is empty, too long (key %d bytes, value %d) or not plain text", key, value, maxKey, maxValue)
		}
		size += len(key) + len(value)
	}
	for _, a := range aliases {
		if !isWord(a, maxName) {
			return fmt.Errorf("alias %.60q is no name", a)
		}
		size += len(a)
	}
	if size > maxTexts {
		return errors.New("they are too long to be kept")
	}
	return nil
}

// isText reports whether s is text of one line that can be printed anywhere.
func isText(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// isWord reports whether s is a name: text without spaces and slashes.
func isWord(s string, most int) bool {
	return s != "" && isText(s, most) && !strings.ContainsAny(s, " /")
}

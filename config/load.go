package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// value is the text that was found for a key, and where.
type value struct {
	text  string
	where string // what errors begin with: "weftd.yaml:7: listen", "WEFT_LISTEN", "--listen"
	rank  int    // of the source: the higher wins
}

// The sources by precedence.
const (
	fromFile = iota
	fromEnv
	fromFlag
)

// Flags adds --config and one flag for each key of the node's file.
func Flags(flags *pflag.FlagSet) {
	flags.Var(&flagText{kind: "FILE"}, "config", "the node's file (default: "+DefaultFile+"; also WEFT_CONFIG)")
	for _, k := range keys {
		f := flags.VarPF(&flagText{kind: k.kind}, k.flag(), "", k.help)
		if k.kind == boolKind {
			f.NoOptDefVal = "true"
		}
	}
}

// flagText is a flag that keeps its text. Load parses it like every other
// source, so that all of them accept the same and complain alike.
type flagText struct{ text, kind string }

func (f *flagText) String() string     { return f.text }
func (f *flagText) Set(s string) error { f.text = s; return nil }
func (f *flagText) Type() string       { return f.kind }

// Load reads the agent's configuration. Each key has the value of its flag if
// that is set, else of its environment variable unless that is empty, else of
// the file, else its default. flags must have been through Flags and parsed;
// env is os.LookupEnv, or a test's. The error is one line; the caller exits
// with status 2.
func Load(flags *pflag.FlagSet, env func(string) (string, bool)) (*Node, error) {
	n, values, err := load(flags, env)
	if err != nil {
		return nil, err
	}
	if err := thisHost.identify(n); err != nil {
		return nil, explain(values, err)
	}
	return n, nil
}

// LoadClient is Load for programs that talk to etcd or to the agent but are
// no node themselves: a name or id that is not configured stays empty, so a
// host without a machine id can be worked from.
func LoadClient(flags *pflag.FlagSet, env func(string) (string, bool)) (*Node, error) {
	n, _, err := load(flags, env)
	return n, err
}

func load(flags *pflag.FlagSet, env func(string) (string, bool)) (*Node, map[string]value, error) {
	values := make(map[string]value)
	if err := readFile(flags, env, values); err != nil {
		return nil, nil, err
	}
	for _, k := range keys {
		if text, _ := env(k.env()); text != "" {
			values[k.path] = value{text, k.env(), fromEnv}
		}
		if f := flags.Lookup(k.flag()); f != nil && f.Changed {
			values[k.path] = value{f.Value.String(), "--" + k.flag(), fromFlag}
		}
	}
	keepStrongest(values, "underlay.")
	n := defaults()
	for _, k := range keys {
		v, ok := values[k.path]
		if !ok {
			continue
		}
		err := errors.New("is empty (leave it out to get the default)")
		if v.text != "" {
			err = k.set(n, v.text)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", v.where, err)
		}
	}
	if err := complete(n); err != nil {
		return nil, nil, explain(values, err)
	}
	return n, values, nil
}

// keepStrongest forgets the values of all keys with a common beginning but
// those of the strongest source. They exclude each other, so that a flag for
// one overrides the file's choice of another.
func keepStrongest(values map[string]value, prefix string) {
	rank := 0
	for path, v := range values {
		if strings.HasPrefix(path, prefix) {
			rank = max(rank, v.rank)
		}
	}
	for path, v := range values {
		if strings.HasPrefix(path, prefix) && v.rank < rank {
			delete(values, path)
		}
	}
}

// explain puts in front of a problem where its key was set.
func explain(values map[string]value, p *problem) error {
	if v, ok := values[p.path]; ok {
		return fmt.Errorf("%s: %s", v.where, p.text)
	}
	return p
}

func readFile(flags *pflag.FlagSet, env func(string) (string, bool), values map[string]value) error {
	path, isDefault := DefaultFile, true
	if text, _ := env("WEFT_CONFIG"); text != "" {
		path, isDefault = text, false
	}
	if f := flags.Lookup("config"); f != nil && f.Changed {
		path, isDefault = f.Value.String(), false
	}
	data, err := os.ReadFile(path)
	var pathErr *fs.PathError
	switch {
	case isDefault && errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.As(err, &pathErr):
		return fmt.Errorf("%s: %w (the node's file, see --config)", path, pathErr.Err)
	case err != nil:
		return err
	}
	return parseNode(path, data, values)
}

// parseNode takes the keys out of a node's file. Values keep their text, Load
// parses those that count.
func parseNode(name string, data []byte, values map[string]value) error {
	docs, err := parse(name, data)
	switch {
	case err != nil:
		return err
	case len(docs) > 1:
		return fmt.Errorf("%s:%d: a second document begins here, the node's file is one", name, docs[1].line)
	case len(docs) == 0:
		return nil
	case docs[0].shape != shapeMap:
		return fmt.Errorf("%s:%d: is %s, want keys like `listen: 127.0.0.1:9479`", name, docs[0].line, docs[0].shape)
	}
	return collect(name, "", docs[0], values)
}

func collect(name, section string, t *tree, values map[string]value) error {
	for _, e := range t.keys {
		path := section + e.name
		where := fmt.Sprintf("%s:%d: %s", name, e.line, path)
		k, known := keyAt(path)
		switch {
		case !known && !isSection(path):
			return fmt.Errorf("%s: unknown key%s", where, didYouMean(suggestKey(path)))
		case e.value.shape == shapeNone:
			return fmt.Errorf("%s: has no value (leave it out to get the default)", where)
		case !known && e.value.shape != shapeMap:
			return fmt.Errorf("%s: is %s, want a section of keys", where, e.value.shape)
		case !known:
			if err := collect(name, path+".", e.value, values); err != nil {
				return err
			}
			continue
		}
		text, err := e.value.asText(k.kind == listKind)
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		values[path] = value{text, where, fromFile}
	}
	return nil
}

// asText returns the text of a single value, or the items of a list joined by
// commas where a list may stand.
func (t *tree) asText(isList bool) (string, error) {
	if t.shape == shapeText {
		return t.text, nil
	}
	switch {
	case !isList:
		return "", errors.New(t.notText())
	case t.shape != shapeList:
		return "", fmt.Errorf("is %s, want a list", t.shape)
	}
	items := make([]string, len(t.items))
	for i, item := range t.items {
		if item.shape != shapeText {
			return "", fmt.Errorf("item %d %s", i+1, item.notText())
		}
		if strings.Contains(item.text, ",") {
			return "", fmt.Errorf("item %d holds a comma, want one item for each", i+1)
		}
		items[i] = item.text
	}
	return strings.Join(items, ","), nil
}

// CheckEnviron refuses environment variables (in the form of os.Environ) that
// are nearly those of a key: a mistyped one would be ignored in silence. Others
// that begin with WEFT_ are nobody's business.
func CheckEnviron(environ []string) error {
	known := []string{"WEFT_CONFIG"}
	for _, k := range keys {
		known = append(known, k.env())
	}
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, "WEFT_") || slices.Contains(known, name) {
			continue
		}
		for _, k := range known {
			if editDistance(name, k) <= 2 {
				return fmt.Errorf("%s: unknown environment variable (did you mean %s?)", name, k)
			}
		}
	}
	return nil
}

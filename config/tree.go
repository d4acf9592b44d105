package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxInput bounds a file that is parsed, in bytes. A configuration is a few
// kilobytes; the parser recurses, so the bound is also one for its stack.
const maxInput = 1 << 20

// shape is what kind of YAML value a tree is.
type shape int

const (
	shapeText shape = iota // any scalar; values get their type from the key
	shapeList
	shapeMap
	shapeNone // null, or nothing after the colon
)

func (s shape) String() string {
	return [...]string{"a single value", "a list", "a section of keys", "no value"}[s]
}

// notText says what stands where a single value was expected.
func (t *tree) notText() string {
	hint := ""
	if t.shape == shapeMap && len(t.keys) == 1 {
		// The parser takes {a: [host:port]} for a key with its value.
		hint = " (a value with colons may need quotes)"
	}
	return fmt.Sprintf("is %s, want a single value%s", t.shape, hint)
}

// tree is a parsed YAML (or JSON) value with its position. The parser's own
// types end in this file: its decoder drops the position of values that a
// type refuses, and converts where a strict reader should not.
type tree struct {
	shape  shape
	line   int // from 1
	text   string
	quoted bool // a scalar in quotes: text, whatever it looks like
	items  []*tree
	keys   []entry // in the file's order
}

type entry struct {
	name  string
	line  int
	value *tree
}

// get returns the value under a key of a map, or nil.
func (t *tree) get(name string) *tree {
	for _, e := range t.keys {
		if e.name == name {
			return e.value
		}
	}
	return nil
}

// lineOf returns the line of the value at a dotted path, or of the nearest
// section around it where the path itself is not written.
func (t *tree) lineOf(path string) int {
	line := t.line
	for step := range strings.SplitSeq(path, ".") {
		name, index, isItem := strings.Cut(step, "[")
		if t = t.get(name); t == nil {
			return line
		}
		line = t.line
		if !isItem {
			continue
		}
		var i int
		if _, err := fmt.Sscanf(index, "%d]", &i); err != nil || i < 0 || i >= len(t.items) {
			return line
		}
		t = t.items[i]
		line = t.line
	}
	return line
}

// parse reads YAML, of which JSON is a part, into one tree for each document
// that is not empty. Errors begin with name and line.
func parse(name string, data []byte) ([]*tree, error) {
	if len(data) > maxInput {
		return nil, fmt.Errorf("%s: larger than %d KiB, this is no configuration", name, maxInput>>10)
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, syntaxError(name, err)
	}
	var docs []*tree
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType {
			continue
		}
		t, err := convert(doc.Body)
		if err != nil {
			return nil, fmt.Errorf("%s:%w", name, err)
		}
		docs = append(docs, t)
	}
	return docs, nil
}

func syntaxError(name string, err error) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		return fmt.Errorf("%s:%d: %s", name, lineOf(at.GetToken()), oneLine(at.GetMessage()))
	}
	return fmt.Errorf("%s: %s", name, oneLine(err.Error()))
}

func oneLine(s string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(s, "'\t'", "'\\t' (tab)")), " ")
}

func lineOf(t *token.Token) int {
	if t == nil || t.Position == nil {
		return 1
	}
	return t.Position.Line
}

// convert turns a parsed node into a tree. Its errors begin with the line.
func convert(n ast.Node) (*tree, error) {
	t := &tree{line: lineOf(n.GetToken())}
	switch n := n.(type) {
	case ast.MapNode:
		return t, t.addKeys(n)
	case *ast.SequenceNode:
		t.shape = shapeList
		for _, v := range n.Values {
			item, err := convert(v)
			if err != nil {
				return nil, err
			}
			t.items = append(t.items, item)
		}
	case *ast.NullNode:
		t.shape = shapeNone
	case *ast.StringNode:
		t.text = n.Value
		t.quoted = n.Token.Type == token.SingleQuoteType || n.Token.Type == token.DoubleQuoteType
	case *ast.LiteralNode:
		t.text, t.quoted = strings.TrimSuffix(n.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		// As written: "0x10" or "1_000" stay what they are.
		t.text = n.GetToken().Value
	default:
		return nil, fmt.Errorf("%d: %s is not supported here (write the value itself)", t.line, strings.ToLower(n.Type().YAMLName()))
	}
	return t, nil
}

func (t *tree) addKeys(n ast.MapNode) error {
	t.shape = shapeMap
	for it := n.MapRange(); it.Next(); {
		key := it.Key()
		line := lineOf(key.GetToken())
		if key.IsMergeKey() {
			return fmt.Errorf("%d: merge keys are not supported here (write the values themselves)", line)
		}
		name := key.GetToken().Value
		if t.get(name) != nil {
			return fmt.Errorf("%d: %s: key is set twice", line, name)
		}
		value, err := convert(it.Value())
		if err != nil {
			return err
		}
		// A list or section begins below its key; people look for the key.
		value.line = line
		t.keys = append(t.keys, entry{name: name, line: line, value: value})
	}
	return nil
}

package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/weft-net/weft/fabric"
)

// APIVersion is the version of the objects that this build reads and writes.
const APIVersion = "weft/v1"

// Object is something that operators write and the fabric obeys, in the shape
// that they know from Kubernetes.
type Object struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Metadata `json:"metadata"`
	// Spec is a pointer to the kind's type: *fabric.Spec for a Fabric,
	// *fabric.BGPPeerSpec, *fabric.BGPPolicySpec or *fabric.BGPPrefixSpec.
	Spec any `json:"spec"`
	// Where it was read, like "fabric.yaml:3"; empty for one from the store.
	Where string `json:"-"`
}

// Metadata names an object among those of its kind.
type Metadata struct {
	Name string `json:"name"`
}

// Fabric returns the spec of a Fabric, nil for an object of another kind.
func (o Object) Fabric() *fabric.Spec {
	s, _ := o.Spec.(*fabric.Spec)
	return s
}

// SpecOf is the spec of the Fabric among objects, nil where there is none.
func SpecOf(objects []Object) *fabric.Spec {
	for _, o := range slices.Backward(objects) {
		if s := o.Fabric(); s != nil {
			return s
		}
	}
	return nil
}

// Kind is a kind of object and what is special about it.
type Kind struct {
	Name  string   // as in `kind:`
	Words []string // as in `weft get WORD`, lower case, the usual one first
	// Many is whether a fabric may have more than one.
	Many bool
	// Key returns where an object of that name is stored, below the prefix.
	Key func(name string) string

	new      func() any              // a spec with its defaults
	complete func(spec any)          // fills in defaults that depend on what is set
	validate func(spec any) *problem // paths begin at the spec
}

// define ties a kind to the type of its spec.
func define[T any](k Kind, defaults func() *T, complete func(*T), validate func(*T) *problem) Kind {
	k.new = func() any { return defaults() }
	k.complete = func(spec any) { complete(spec.(*T)) }
	k.validate = func(spec any) *problem { return validate(spec.(*T)) }
	return k
}

// Kinds returns the kinds that this version knows. A new kind is one more
// entry here; parsing, storing, comparing and printing follow.
func Kinds() []Kind {
	return []Kind{
		define(Kind{
			Name:  "Fabric",
			Words: []string{"fabric", "fabrics"},
			Key:   func(string) string { return "fabric" }, // the one and only
		}, defaultSpec, completeSpec, validateSpec),
		define(named("BGPPeer", "bgppeer", "bgppeers"), newBGPPeer, completeBGPPeer, validateBGPPeer),
		define(named("BGPPolicy", "bgppolicy", "bgppolicies"), newBGPPolicy, completeBGPPolicy, validateBGPPolicy),
		define(named("BGPPrefix", "bgpprefix", "bgpprefixes"), newBGPPrefix, completeBGPPrefix, validateBGPPrefix),
	}
}

// named is a kind of which there may be many, stored by name below the plural.
func named(name, word, plural string) Kind {
	return Kind{Name: name, Words: []string{word, plural}, Many: true, Key: func(name string) string { return plural + "/" + name }}
}

func kindNamed(name string) (Kind, *problem) {
	var known []string
	for _, k := range Kinds() {
		if k.Name == name {
			return k, nil
		}
		known = append(known, k.Name)
	}
	return Kind{}, problemf("kind", "%q is not a kind that this version of weft knows%s", name, didYouMean(nearest(name, known)))
}

// KindFor finds a kind by one of its words or its name.
func KindFor(word string) (Kind, error) {
	var known []string
	for _, k := range Kinds() {
		if k.Name == word || slices.Contains(k.Words, word) {
			return k, nil
		}
		known = append(known, k.Words[0])
	}
	return Kind{}, fmt.Errorf("%q is not a kind of object%s", word, didYouMean(nearest(word, known)))
}

// title is what there can be one of.
func (o Object) title() string {
	if k, err := kindNamed(o.Kind); err == nil && k.Many {
		return o.Kind + " " + o.Metadata.Name
	}
	return o.Kind
}

// Key returns where the object is stored, below the prefix.
func (o Object) Key() string {
	k, err := kindNamed(o.Kind)
	if err != nil {
		return ""
	}
	return k.Key(o.Metadata.Name)
}

// ParseObjects reads the objects of a file strictly, in YAML or JSON, one or
// several documents or a list of objects. Each is complete with its defaults and valid by itself.
// name is the file's, for errors, which are one line with the line's number.
func ParseObjects(name string, data []byte) ([]Object, error) {
	docs, err := parse(name, data)
	if err != nil {
		return nil, err
	}
	docs = flattened(docs)
	if len(docs) == 0 {
		return nil, fmt.Errorf("%s: holds no object (want apiVersion, kind, metadata and spec)", name)
	}
	var out []Object
	seen := make(map[string]string)
	for _, doc := range docs {
		o, p := parseObject(doc)
		if p != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, doc.lineOf(p.path), p)
		}
		o.Where = fmt.Sprintf("%s:%d", name, doc.line)
		if first := seen[o.Key()]; first != "" {
			return nil, fmt.Errorf("%s: the same object is at %s already: a fabric has one %s", o.Where, first, o.title())
		}
		seen[o.Key()] = o.Where
		out = append(out, o)
	}
	return out, nil
}

// flattened takes a list, the form in which `weft get KIND -o json` prints
// several objects, for as many documents.
func flattened(docs []*tree) []*tree {
	var out []*tree
	for _, doc := range docs {
		if doc.shape == shapeList {
			out = append(out, doc.items...)
		} else {
			out = append(out, doc)
		}
	}
	return out
}

func parseObject(doc *tree) (Object, *problem) {
	// The spec's type follows from the kind, so the rest is read first.
	var head struct {
		APIVersion string   `json:"apiVersion"`
		Kind       string   `json:"kind"`
		Metadata   Metadata `json:"metadata"`
		Spec       anything `json:"spec"`
	}
	if err := decode(doc, "", reflect.ValueOf(&head).Elem()); err != nil {
		return Object{}, err
	}
	switch {
	case head.APIVersion == "":
		return Object{}, problemf("apiVersion", "is missing, want %s", APIVersion)
	case head.APIVersion != APIVersion:
		return Object{}, problemf("apiVersion", "%q is not supported, want %s", head.APIVersion, APIVersion)
	case head.Kind == "":
		return Object{}, problemf("kind", "is missing, want Fabric, BGPPeer, BGPPolicy or BGPPrefix")
	}
	kind, err := kindNamed(head.Kind)
	if err != nil {
		return Object{}, err
	}
	if _, err := parseNodeName(head.Metadata.Name); err != nil {
		if head.Metadata.Name == "" {
			return Object{}, problemf("metadata.name", "is missing")
		}
		return Object{}, problemf("metadata.name", "%q is not a name (lower-case letters, digits, dashes)", head.Metadata.Name)
	}
	o := Object{APIVersion: head.APIVersion, Kind: head.Kind, Metadata: head.Metadata, Spec: kind.new()}
	spec := doc.get("spec")
	if spec == nil || spec.shape == shapeNone {
		return Object{}, problemf("spec", "is missing")
	}
	if err := decode(spec, "spec", reflect.ValueOf(o.Spec).Elem()); err != nil {
		return Object{}, err
	}
	kind.complete(o.Spec)
	if err := kind.validate(o.Spec); err != nil {
		err.path = join("spec", err.path)
		return Object{}, err
	}
	return o, nil
}

// Encode returns the form in which an object is stored: JSON with every
// default written out, so that agents of all versions read the same.
func (o Object) Encode() ([]byte, error) {
	if s := o.Fabric(); s != nil {
		stored := *s
		stored.BGP = storedBGP(s)
		o.Spec = &stored
	}
	data, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", o.Kind, o.Metadata.Name, err)
	}
	return data, nil
}

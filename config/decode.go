package config

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"github.com/weft-net/weft/fabric"
)

// decode stores a tree in a struct whose fields carry `json` tags, strictly:
// a key that has no field, a value of the wrong shape, a number that does not
// fit and a text that its type refuses are problems. What the tree does not
// mention keeps its value, so that defaults are set beforehand.
func decode(t *tree, path string, into reflect.Value) *problem {
	switch v := into.Addr().Interface().(type) {
	case *anything:
		return nil
	case encoding.TextUnmarshaler:
		return decodeText(t, path, v)
	}
	if t.shape == shapeNone {
		return noValue(path)
	}
	switch into.Kind() {
	case reflect.Struct:
		return decodeStruct(t, path, into)
	case reflect.Slice:
		return decodeSlice(t, path, into)
	case reflect.Map:
		return decodeMap(t, path, into)
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		return decode(t, path, into.Elem())
	}
	return decodeScalar(t, path, into)
}

func noValue(path string) *problem {
	return problemf(path, "has no value (leave it out to get the default)")
}

// anything takes whatever is written, for somebody else to decode.
type anything struct{}

func decodeText(t *tree, path string, into encoding.TextUnmarshaler) *problem {
	if t.shape == shapeNone {
		return noValue(path)
	}
	if t.shape != shapeText {
		return &problem{path, t.notText()}
	}
	if t.text == "" {
		return problemf(path, "is empty (leave it out to get the default)")
	}
	err := into.UnmarshalText([]byte(t.text))
	if err == nil {
		return nil
	}
	switch into.(type) { // netip's words are for programmers
	case *netip.Prefix:
		return problemf(path, "%q is not a network (like 10.244.0.0/16 or fd00:10:244::/48)", t.text)
	case *netip.Addr:
		return problemf(path, "%q is not an IP address (like 192.0.2.1 or 2001:db8::1)", t.text)
	}
	return problemf(path, "%v", err)
}

func decodeStruct(t *tree, path string, into reflect.Value) *problem {
	if t.shape != shapeMap {
		return problemf(path, "is %s, want a section of keys", t.shape)
	}
	fields := make(map[string]reflect.StructField)
	var names []string
	for _, f := range reflect.VisibleFields(into.Type()) { // those of embedded structs too
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		fields[name] = f
		names = append(names, name)
	}
	for _, e := range t.keys {
		at := join(path, e.name)
		f, ok := fields[e.name]
		if !ok {
			meant := nearest(e.name, names)
			if meant != "" {
				meant = join(path, meant)
			}
			return problemf(at, "unknown key%s", didYouMean(meant))
		}
		v := into.FieldByIndex(f.Index)
		if err := decode(e.value, at, v); err != nil {
			return err
		}
		if isOptionalDuration(f) && v.IsZero() {
			return problemf(at, "0s has no meaning (leave it out to get the default)")
		}
	}
	return nil
}

// isOptionalDuration reports whether the zero of a duration stands for one
// that is not set, so that whoever writes 0s would get something else.
func isOptionalDuration(f reflect.StructField) bool {
	_, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	return options == "omitzero" && f.Type == reflect.TypeFor[fabric.Duration]()
}

// decodeMap stores keys that people choose, like labels.
func decodeMap(t *tree, path string, into reflect.Value) *problem {
	if t.shape != shapeMap {
		return problemf(path, "is %s, want pairs like {rack: r1}", t.shape)
	}
	m := reflect.MakeMapWithSize(into.Type(), len(t.keys))
	for _, e := range t.keys {
		v := reflect.New(into.Type().Elem()).Elem()
		if err := decode(e.value, join(path, e.name), v); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(e.name).Convert(into.Type().Key()), v)
	}
	into.Set(m)
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func decodeSlice(t *tree, path string, into reflect.Value) *problem {
	if t.shape != shapeList {
		return problemf(path, "is %s, want a list", t.shape)
	}
	list := reflect.MakeSlice(into.Type(), len(t.items), len(t.items))
	for i, item := range t.items {
		if err := decode(item, fmt.Sprintf("%s[%d]", path, i), list.Index(i)); err != nil {
			return err
		}
	}
	into.Set(list)
	return nil
}

// decodeScalar stores text, numbers and booleans. A value in quotes is text.
func decodeScalar(t *tree, path string, into reflect.Value) *problem {
	if t.shape != shapeText {
		return &problem{path, t.notText()}
	}
	var err error
	want := "a value that this version knows"
	switch kind := into.Kind(); {
	case kind == reflect.String:
		into.SetString(t.text)
		return nil
	case kind == reflect.Bool:
		want = "true or false"
		var v bool
		v, err = parseBool(t.text)
		into.SetBool(v)
	case into.CanUint():
		bits := into.Type().Bits()
		want = fmt.Sprintf("a number from 0 to %d", uint64(1)<<bits-1)
		var v uint64
		v, err = strconv.ParseUint(t.text, 10, bits)
		into.SetUint(v)
	case into.CanInt():
		want = "a whole number"
		var v int64
		v, err = strconv.ParseInt(t.text, 10, into.Type().Bits())
		into.SetInt(v)
	default:
		err = strconv.ErrSyntax
	}
	if t.quoted {
		return problemf(path, "%q is text, want %s without quotes", t.text, want)
	}
	if err != nil {
		return problemf(path, "%q is not %s", t.text, want)
	}
	return nil
}

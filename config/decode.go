package config

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
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
	if _, isPrefix := into.(*netip.Prefix); isPrefix && err != nil {
		// netip's words are for programmers.
		return problemf(path, "%q is not a network (like 10.244.0.0/16 or fd00:10:244::/48)", t.text)
	}
	if err != nil {
		return problemf(path, "%v", err)
	}
	return nil
}

func decodeStruct(t *tree, path string, into reflect.Value) *problem {
	if t.shape != shapeMap {
		return problemf(path, "is %s, want a section of keys", t.shape)
	}
	fields := make(map[string]int)
	var names []string
	for i := range into.NumField() {
		name, _, _ := strings.Cut(into.Type().Field(i).Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		fields[name] = i
		names = append(names, name)
	}
	for _, e := range t.keys {
		at := join(path, e.name)
		i, ok := fields[e.name]
		if !ok {
			meant := nearest(e.name, names)
			if meant != "" {
				meant = join(path, meant)
			}
			return problemf(at, "unknown key%s", didYouMean(meant))
		}
		if err := decode(e.value, at, into.Field(i)); err != nil {
			return err
		}
	}
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

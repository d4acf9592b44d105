package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

// The forms of -o.
const (
	formTable = "table"
	formWide  = "wide"
	formJSON  = "json"
	formYAML  = "yaml"
)

var forms = []string{formTable, formWide, formJSON, formYAML}

// form is the value of a -o flag.
type form string

func (f *form) String() string { return string(*f) }
func (f *form) Type() string   { return "FORM" }
func (f *form) Set(s string) error {
	if !slices.Contains(forms, s) {
		return fmt.Errorf("want one of %s", strings.Join(forms, ", "))
	}
	*f = form(s)
	return nil
}

// formFlag adds -o to a command.
func formFlag(cmd *cobra.Command) *form {
	f := form(formTable)
	cmd.Flags().VarP(&f, "output", "o", "form of the output: "+strings.Join(forms, ", "))
	complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return forms, cobra.ShellCompDirectiveNoFileComp
	}
	// It fails only for a flag that is not there or has one already.
	_ = cmd.RegisterFlagCompletionFunc("output", complete)
	return &f
}

// print writes data as JSON or YAML, or the table that is made of it.
func (a *app) print(f form, data any, asTable func(wide bool) *table) error {
	if f == formTable || f == formWide {
		_, err := a.Out.Write([]byte(asTable(f == formWide).String()))
		return err
	}
	raw, err := json.Marshal(data)
	if err != nil {
		return err
	}
	return a.printJSON(f, raw)
}

// printJSON writes a JSON document as it is, for people.
func (a *app) printJSON(f form, raw []byte) error {
	var out []byte
	if f == formYAML {
		text, err := yaml.JSONToYAML(raw)
		if err != nil {
			return err
		}
		out = text
	} else {
		var b bytes.Buffer
		if err := json.Indent(&b, raw, "", "  "); err != nil {
			return err
		}
		out = append(b.Bytes(), '\n')
	}
	_, err := a.Out.Write(out)
	return err
}

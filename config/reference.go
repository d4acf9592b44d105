package config

import _ "embed"

// Reference is a node's file with every key, its default and what it means.
//
//go:embed reference.yaml
var Reference string

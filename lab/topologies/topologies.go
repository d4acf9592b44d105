// Package topologies holds the fabrics that weft's BGP mode is tried on, as
// topology files for `weft-lab up -f` and for tests.
package topologies

import _ "embed"

// The files' contents.
var (
	//go:embed mesh.yaml
	Mesh []byte
	//go:embed reflectors.yaml
	Reflectors []byte
	//go:embed leafspine.yaml
	LeafSpine []byte
	//go:embed routers.yaml
	Routers []byte
)

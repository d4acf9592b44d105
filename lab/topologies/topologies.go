// Package topologies holds the fabrics that weft's routing, its choice of paths
// and its migrations are tried on, as topology files for `weft-lab up -f` and for
// tests.
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
	//go:embed paths.yaml
	Paths []byte
	//go:embed mtus.yaml
	MTUs []byte
)

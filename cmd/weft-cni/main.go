// Command weft-cni is weft's CNI plugin, installed as /opt/cni/bin/weft.
package main

import (
	"os"

	"github.com/weft-net/weft/cni"
	"github.com/weft-net/weft/internal/version"
)

func main() { os.Exit(cni.Main(cni.Process(), "weft "+version.String())) }

// Command weft-cni is weft's CNI plugin, installed as /opt/cni/bin/weft: container
// runtimes start it once for each pod. See package cni.
package main

import (
	"os"

	"github.com/weft-net/weft/cni"
	"github.com/weft-net/weft/internal/version"
)

func main() { os.Exit(cni.Main(cni.Process(), "weft "+version.String())) }

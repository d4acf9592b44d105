// One processor or many is all the same to a process of a few milliseconds: it
// need not read its control group to find out.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command weft-cni is weft's CNI plugin, installed as /opt/cni/bin/weft: container
// runtimes start it once for each pod. See package cni.
package main

import (
	"os"

	"github.com/weft-net/weft/cni"
	"github.com/weft-net/weft/internal/version"
)

func main() { os.Exit(cni.Main(cni.Process(), "weft "+version.String())) }

// Command weft is the command line of a weft fabric; see package cli.
package main

import (
	"context"
	"os"
	"time"

	"github.com/weft-net/weft/cli"
)

// Signals end it as they end any program: what it writes is one transaction.
func main() {
	os.Exit(cli.Run(context.Background(), cli.Terminal{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ(), Now: time.Now,
	}, os.Args[1:]))
}

// Command weft is the command line of a weft fabric; see package cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/cli"
)

// Signals end it as they end any program, as what it writes is one transaction;
// but for commands that follow what goes on, and say what goes on without them.
func main() {
	os.Exit(cli.Run(context.Background(), cli.Terminal{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ(), Now: time.Now,
		Interactive: isTerminal(os.Stdout), Interrupted: interrupted,
	}, os.Args[1:]))
}

func interrupted(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// isTerminal asks for what only a terminal has; see isatty(3).
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

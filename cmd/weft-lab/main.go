// Command weft-lab builds whole fabrics out of network namespaces on one
// machine; see package lab.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/weft-net/weft/lab"
	"github.com/weft-net/weft/lab/command"
	"github.com/weft-net/weft/lab/embedded"
	"github.com/weft-net/weft/lab/router"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	verb := ""
	if len(args) > 0 {
		verb = args[0]
	}
	if verb == lab.HoldCommand {
		return exit(lab.Hold())
	}
	// What ends with this process needs no namespace that stays.
	if verb == "demo" || verb == "demo-bgp" || verb == "demo-migrate" || verb == "bench" {
		code, ran, err := lab.EnterUserNamespace()
		if ran || err != nil {
			return max(code, exit(err))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if verb == lab.EmbeddedCommand {
		return exit(embedded.Run(ctx, args[1:]))
	}
	if verb == lab.RouterCommand && len(args) == 2 {
		return exit(router.Run(ctx, args[1]))
	}
	return exit(command.New().ExecuteContext(ctx))
}

// exit prints the error, if any, and gives the exit code for it.
func exit(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "weft-lab:", err)
	return 1
}

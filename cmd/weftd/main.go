// Command weftd is weft's agent: one runs on every host of a fabric.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"

	"github.com/weft-net/weft/agent"
	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/internal/version"
)

// Exit codes. systemd restarts on the first, not on the second.
const (
	exitFailed = 1
	exitConfig = 2
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	flags := pflag.NewFlagSet("weftd", pflag.ContinueOnError)
	config.Flags(flags)
	showVersion := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return 0
		}
		fmt.Fprintln(os.Stderr, "weftd:", err)
		return exitConfig
	}
	if *showVersion {
		fmt.Println("weftd", version.String())
		return 0
	}
	cfg, log, err := configure(flags)
	if err != nil {
		fmt.Fprintln(os.Stderr, "weftd:", err)
		return exitConfig
	}
	var mem memory
	mem.start()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err = agent.Run(ctx, agent.Options{Config: cfg, Log: log, Notify: notify, Learnt: mem.learnt})
	if err != nil {
		log.WithError(err).Error("weftd cannot go on")
		return exitFailed
	}
	return 0
}

// configure reads the node's file, environment and flags, and makes the log.
func configure(flags *pflag.FlagSet) (*config.Node, *logrus.Entry, error) {
	if err := config.CheckEnviron(os.Environ()); err != nil {
		return nil, nil, err
	}
	cfg, err := config.Load(flags, os.LookupEnv)
	if err != nil {
		return nil, nil, err
	}
	log, err := logger(cfg.Log)
	return cfg, log, err
}

// notify passes on to systemd; without one it does nothing.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }

func logger(c config.Log) (*logrus.Entry, error) {
	level, err := logrus.ParseLevel(c.Level)
	if err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	log := logrus.New()
	log.SetLevel(level)
	log.SetOutput(os.Stderr)
	if c.Format == "json" {
		log.SetFormatter(&logrus.JSONFormatter{})
	} else {
		log.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true})
	}
	return logrus.NewEntry(log), nil
}

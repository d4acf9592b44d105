// Package embedded is an etcd server for machines that have none installed.
// weft-lab runs it as a process of its own (the subcommand lab.EmbeddedCommand);
// it is apart from package lab so that only that program links the server.
package embedded

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"strings"

	"go.etcd.io/etcd/server/v3/embed"
)

// Run serves until ctx ends. args are the flags of the etcd program that the
// lab uses; any other is an error.
func Run(ctx context.Context, args []string) error {
	cfg, err := parse(args)
	if err != nil {
		return err
	}
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer server.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-server.Err():
		return fmt.Errorf("etcd: %w", err)
	case <-server.Server.StopNotify():
		return fmt.Errorf("etcd stopped by itself")
	}
}

func parse(args []string) (*embed.Config, error) {
	cfg := embed.NewConfig()
	cfg.LogLevel = "warn"
	fs := flag.NewFlagSet("etcd", flag.ContinueOnError)
	fs.StringVar(&cfg.Name, "name", cfg.Name, "")
	fs.StringVar(&cfg.Dir, "data-dir", "", "")
	fs.StringVar(&cfg.InitialCluster, "initial-cluster", "", "")
	fs.StringVar(&cfg.ClusterState, "initial-cluster-state", cfg.ClusterState, "")
	tls := &cfg.ClientTLSInfo
	fs.StringVar(&tls.CertFile, "cert-file", "", "")
	fs.StringVar(&tls.KeyFile, "key-file", "", "")
	fs.StringVar(&tls.TrustedCAFile, "trusted-ca-file", "", "")
	fs.BoolVar(&tls.ClientCertAuth, "client-cert-auth", false, "")
	for name, list := range map[string]*[]url.URL{
		"listen-client-urls": &cfg.ListenClientUrls, "advertise-client-urls": &cfg.AdvertiseClientUrls,
		"listen-peer-urls": &cfg.ListenPeerUrls, "initial-advertise-peer-urls": &cfg.AdvertisePeerUrls,
	} {
		fs.Func(name, "", func(s string) (err error) {
			*list, err = urls(s)
			return err
		})
	}
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	return cfg, nil
}

func urls(s string) ([]url.URL, error) {
	var out []url.URL
	for word := range strings.SplitSeq(s, ",") {
		u, err := url.Parse(word)
		if err != nil {
			return nil, err
		}
		out = append(out, *u)
	}
	return out, nil
}

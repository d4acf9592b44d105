package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/store"
)

// patience is how long a command may take with etcd. The agent waits longer;
// a person wants to know.
const patience = 20 * time.Second

// withStore runs what needs etcd, and bounds it.
func (a *app) withStore(ctx context.Context, do func(context.Context, *store.Store) error) error {
	return a.withStoreFor(ctx, patience, do)
}

// withStoreFor runs what needs etcd for as long as it may take.
func (a *app) withStoreFor(ctx context.Context, limit time.Duration, do func(context.Context, *store.Store) error) error {
	n, err := a.config()
	if err != nil {
		return err
	}
	s, err := store.Open(storeConfig(n.Etcd))
	if err != nil {
		return usagef("%w", err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := listening(ctx, n.Etcd); err != nil {
		return &failure{code: exitUnreachable, err: err,
			hint: "is it running? set --etcd-endpoints, WEFT_ETCD_ENDPOINTS or etcd.endpoints in " + config.DefaultFile}
	}
	return do(ctx, s)
}

func storeConfig(e config.Etcd) store.Config {
	c := store.Config{
		Endpoints: e.Endpoints, Prefix: e.Prefix, DialTimeout: e.DialTimeout,
		Username: e.Username, PasswordFile: e.PasswordFile,
	}
	c.TLS.CA, c.TLS.Cert, c.TLS.Key = e.TLS.CA, e.TLS.Cert, e.TLS.Key
	return c
}

// listening finds out whether any of the servers takes connections. The etcd
// client would try again until the time is up, and then know no reason.
func listening(ctx context.Context, e config.Etcd) error {
	ctx, cancel := context.WithTimeout(ctx, e.DialTimeout)
	defer cancel()
	results := make(chan error, len(e.Endpoints))
	for _, endpoint := range e.Endpoints {
		go func() { results <- connect(ctx, endpoint) }()
	}
	var reasons []string
	found := false
	for range e.Endpoints {
		if err := <-results; err != nil {
			reasons = append(reasons, err.Error())
			continue
		}
		found = true
		cancel() // the others need not go on
	}
	if found {
		return nil
	}
	return errors.New(strings.Join(reasons, "; "))
}

func connect(ctx context.Context, endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if err == nil {
		return conn.Close()
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // the rest repeats the address
	}
	return fmt.Errorf("etcd at %s does not answer: %w", endpoint, err)
}

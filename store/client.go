package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// How the client talks to etcd.
const (
	defaultDialTimeout = 5 * time.Second
	callTimeout        = 10 * time.Second // of one unary request
	listTimeout        = 60 * time.Second // of the one range over everything
	pingTime           = 10 * time.Second // the least that grpc allows
	pingTimeout        = 3 * time.Second
	maxMessage         = 1 << 30 // bytes of a list: 10000 nodes are some 8 MiB
)

// Config says how to reach etcd.
type Config struct {
	Endpoints []string
	Prefix    string // default DefaultPrefix
	// TLS holds paths of PEM files. CA alone is enough; Cert and Key, if set,
	// are read again for each connection, so they can be rotated in place.
	TLS struct{ CA, Cert, Key string }
	// PasswordFile holds the password of Username on its first line. It is
	// read again when etcd refuses what it said before.
	Username, PasswordFile string
	DialTimeout            time.Duration // default 5 s
	Log                    *logrus.Entry
	// Requests, if set, is told of every request sent; op is one of list,
	// get, txn, grant, revoke, ttl, keepalive, watch. Any goroutine may call it.
	Requests func(op string, err error)
}

// Store is the fabric in etcd. Its methods may be called from any goroutine.
type Store struct {
	cfg    Config
	prefix string // with a slash at its end
	log    *logrus.Entry
	base   context.Context // of all connections; ends with Close
	stop   context.CancelFunc

	mu  sync.Mutex // guards cli
	cli *clientv3.Client
}

// Open checks the configuration. It does not wait for a connection; etcd may
// well be down, and may come later.
func Open(cfg Config) (*Store, error) {
	if len(cfg.Endpoints) == 0 {
		return nil, errors.New("no etcd endpoints are configured")
	}
	if (cfg.TLS.Cert == "") != (cfg.TLS.Key == "") {
		return nil, errors.New("an etcd client certificate needs both cert and key")
	}
	if cfg.PasswordFile != "" && cfg.Username == "" {
		return nil, errors.New("an etcd password file needs a user name")
	}
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = defaultDialTimeout
	}
	if cfg.Log == nil {
		silent := logrus.New()
		silent.SetLevel(logrus.PanicLevel)
		cfg.Log = logrus.NewEntry(silent)
	}
	s := &Store{cfg: cfg, prefix: strings.TrimRight(cfg.Prefix, "/") + "/", log: cfg.Log}
	if _, err := s.tlsConfig(); err != nil {
		return nil, err
	}
	s.base, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Close ends all connections. Sessions must have ended before.
func (s *Store) Close() error {
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cli != nil {
		s.cli.Close() // its error is that of the context just cancelled
		s.cli = nil
	}
	return nil
}

// client returns the connection, made at the first use: with a user name the
// etcd client logs in while it is made, and etcd may be down at that time.
func (s *Store) client() (*clientv3.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cli != nil {
		return s.cli, nil
	}
	if err := s.base.Err(); err != nil {
		return nil, err
	}
	conf, err := s.tlsConfig()
	if err != nil {
		return nil, err
	}
	password, err := s.password()
	if err != nil {
		return nil, err
	}
	s.cli, err = clientv3.New(clientv3.Config{
		Context:              s.base,
		Endpoints:            s.cfg.Endpoints,
		DialTimeout:          s.cfg.DialTimeout,
		DialKeepAliveTime:    pingTime,
		DialKeepAliveTimeout: pingTimeout,
		MaxCallRecvMsgSize:   maxMessage,
		MaxUnaryRetries:      3, // the session retries, with the reason at hand
		TLS:                  conf,
		Username:             s.cfg.Username,
		Password:             password,
		Logger:               zap.NewNop(),
		DialOptions: []grpc.DialOption{
			grpc.WithConnectParams(grpc.ConnectParams{
				// grpc's own default waits up to two minutes after an outage.
				Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.3, MaxDelay: 5 * time.Second},
				MinConnectTimeout: s.cfg.DialTimeout,
			}),
			grpc.WithChainUnaryInterceptor(failFast),
		},
	})
	return s.cli, err
}

// failFast has a request fail while there is no connection, with the reason.
// The etcd client would have it wait until its deadline, which is no reason.
//
// It also keeps the client out of an endless recursion: a login that carries
// a token which etcd has forgotten (simple tokens do not outlive the server)
// is refused for that token, whereupon the client logs in again, with the same
// token, from inside the login, and so on (etcd client 3.7.3,
// unaryClientInterceptor). errStaleLogin is an error that it passes on; the
// session then makes a new client, which has no token yet.
func failFast(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, cc, append(opts, grpc.WaitForReady(false))...)
	if method == pb.Auth_Authenticate_FullMethodName && (is(err, rpctypes.ErrInvalidAuthToken) || is(err, rpctypes.ErrAuthOldRevision) || is(err, rpctypes.ErrUserEmpty)) {
		return errStaleLogin
	}
	return err
}

// drop forgets a connection whose credentials no longer serve; the next
// request reads the files again.
func (s *Store) drop(cli *clientv3.Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cli == cli && cli != nil {
		s.cli = nil
		cli.Close()
	}
}

// do runs one bounded request, counts it and puts its error into words.
func (s *Store) do(ctx context.Context, op string, limit time.Duration, f func(context.Context, *clientv3.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cli, err := s.client()
	if err == nil {
		err = f(ctx, cli)
	}
	s.count(op, err)
	return s.failed(op, cli, err)
}

// failed puts an error into words; credentials that no longer serve are read
// again for the next request.
func (s *Store) failed(op string, cli *clientv3.Client, err error) error {
	if err == nil {
		return nil
	}
	if needsNewClient(err) {
		s.drop(cli)
	}
	return s.explain(op, err)
}

func (s *Store) count(op string, err error) {
	if s.cfg.Requests != nil {
		s.cfg.Requests(op, err)
	}
}

func (s *Store) password() (string, error) {
	if s.cfg.PasswordFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(s.cfg.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("etcd password: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimRight(line, "\r"); line == "" {
		return "", fmt.Errorf("etcd password: the first line of %s is empty", s.cfg.PasswordFile)
	}
	return line, nil
}

// tlsConfig is nil where neither files nor an https endpoint ask for TLS.
func (s *Store) tlsConfig() (*tls.Config, error) {
	t := s.cfg.TLS
	wanted := t.CA != "" || t.Cert != ""
	for _, e := range s.cfg.Endpoints {
		wanted = wanted || strings.HasPrefix(e, "https://")
	}
	if !wanted {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("etcd tls ca: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("etcd tls ca: %s holds no PEM certificate", t.CA)
		}
	}
	if t.Cert == "" {
		return conf, nil
	}
	load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("etcd tls cert: %w", err)
		}
		return &cert, nil
	}
	conf.GetClientCertificate = load
	_, err := load(nil)
	return conf, err
}

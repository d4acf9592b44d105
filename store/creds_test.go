package store

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/fabric"
)

// issue writes a new CA and what it signs into dir: ca.pem, server.pem,
// client.pem and their keys.
func issue(t *testing.T, dir string) {
	t.Helper()
	caKey, caCert := sign(t, dir, "ca", nil, nil)
	sign(t, dir, "server", caKey, caCert)
	sign(t, dir, "client", caKey, caCert)
}

func sign(t *testing.T, dir, name string, caKey *ecdsa.PrivateKey, ca *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if ca == nil {
		tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage, ca, caKey = true, true, x509.KeyUsageCertSign, tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca, &key.PublicKey, caKey)
	must(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return key, cert
}

// tlsEtcd serves with the certificates in dir; args add to it.
func tlsEtcd(t *testing.T, dir string, args ...string) *etcdServer {
	t.Helper()
	return newEtcd(t, append([]string{"--cert-file", filepath.Join(dir, "server.pem"), "--key-file", filepath.Join(dir, "server.key")}, args...)...)
}

func testTLS(t *testing.T, dir string) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	b, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	must(t, err)
	pool.AppendCertsFromPEM(b)
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key"))
	must(t, err)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}
}

func withTLS(dir string, client bool) agentOption {
	return func(c *Config, _ *SessionOptions) {
		c.TLS.CA = filepath.Join(dir, "ca.pem")
		if client {
			c.TLS.Cert, c.TLS.Key = filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
		}
	}
}

// A CA alone is enough where etcd asks for no client certificate; where it
// does, one without is told so; certificates are rotated in place.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	issue(t, dir)
	t.Run("ca only", func(t *testing.T) {
		e := tlsEtcd(t, dir)
		put(t, e.client(testTLS(t, dir)), keyFabric, fabricValue("10.244.0.0/16", 24, "1h", "15s"))
		startAgent(t, []string{e.url}, testNode(1), withTLS(dir, false)).waitState(Leased)
	})
	t.Run("client certificate", func(t *testing.T) {
		e := tlsEtcd(t, dir, "--client-cert-auth", "--trusted-ca-file", filepath.Join(dir, "ca.pem"))
		put(t, e.client(testTLS(t, dir)), keyFabric, fabricValue("10.244.0.0/16", 24, "1h", "15s"))
		without := startAgent(t, []string{e.url}, testNode(2), withTLS(dir, false))
		a := startAgent(t, []string{e.url}, testNode(1), withTLS(dir, true))
		lease := a.waitState(Leased)
		waitError(t, without, "cannot be reached")
		without.stop()

		e.stop()
		issue(t, dir)
		e.start()
		n := testNode(3)
		n.Index = 4
		put(t, e.client(testTLS(t, dir)), nodeKey(n.Name), encodeJSON(n))
		a.waitSnap("what is written with the new certificates", func(s *fabric.Snapshot) bool { return s.Peer(n.ID) != nil })
		if _, l := a.now(); !equalLease(l, lease) {
			t.Errorf("lease %+v, before %+v", l, lease)
		}
	})
	t.Run("another ca", func(t *testing.T) {
		e := tlsEtcd(t, dir)
		other := t.TempDir()
		issue(t, other)
		waitError(t, startAgent(t, []string{e.url}, testNode(1), withTLS(other, false)), "unknown authority")
	})
}

func waitError(t *testing.T, a *agent, part string) {
	t.Helper()
	eventually(t, "the error to say "+part, func() error {
		if s := a.ss.Etcd(); s.Connected || !strings.Contains(s.Error, part) {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

// etcd with users: a wrong password is said and read again, a missing right is
// said, a login that etcd forgot is renewed, and the password is nowhere.
func TestPassword(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	const secret = "correct horse battery staple"
	ctx := context.Background()
	setUp := func(_ any, err error) {
		t.Helper()
		must(t, err)
	}
	setUp(c.UserAdd(ctx, "root", "root"))
	setUp(c.RoleAdd(ctx, "root"))
	setUp(c.UserGrantRole(ctx, "root", "root"))
	setUp(c.UserAdd(ctx, "weft", secret))
	setUp(c.RoleAdd(ctx, "weft"))
	setUp(c.UserGrantRole(ctx, "weft", "weft"))
	setUp(c.AuthEnable(ctx))
	root, err := clientv3.New(clientv3.Config{Endpoints: []string{e.url}, Username: "root", Password: "root"})
	must(t, err)
	t.Cleanup(func() { root.Close() })

	file := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(file, []byte("wrong\n"), 0o600))
	a := startAgent(t, []string{e.url}, testNode(1), func(c *Config, _ *SessionOptions) { c.Username, c.PasswordFile = "weft", file })
	waitError(t, a, `refuses the password of user "weft"`)
	must(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	waitError(t, a, `denies user "weft"`)
	_, err = root.RoleGrantPermission(ctx, "weft", testPrefix, clientv3.GetPrefixRangeEnd(testPrefix), clientv3.PermissionType(clientv3.PermReadWrite))
	must(t, err)
	lease := a.waitState(Leased)

	e.stop() // simple tokens live in etcd's memory
	e.start()
	n := testNode(3)
	n.Index = 4
	eventually(t, "etcd to be back", func() error {
		root, err := clientv3.New(clientv3.Config{Endpoints: []string{e.url}, Username: "root", Password: "root", DialTimeout: 5 * time.Second})
		if err != nil {
			return err
		}
		defer root.Close()
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err = root.Put(ctx, testPrefix+nodeKey(n.Name), encodeJSON(n))
		return err
	})
	a.waitSnap("what is written after the restart", func(s *fabric.Snapshot) bool { return s.Peer(n.ID) != nil })
	if _, l := a.now(); !equalLease(l, lease) {
		t.Errorf("lease %+v, before %+v", l, lease)
	}
	a.stop()
	if strings.Contains(a.logs.String(), secret) || strings.Contains(a.logs.String(), "wrong") {
		t.Error("the password is in the log")
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		conf func(*Config)
		want string
	}{
		{"no endpoints", func(c *Config) { c.Endpoints = nil }, "endpoints"},
		{"cert without key", func(c *Config) { c.TLS.Cert = "x" }, "both cert and key"},
		{"no such ca", func(c *Config) { c.TLS.CA = "/nowhere/ca.pem" }, "/nowhere/ca.pem"},
		{"no certificate", func(c *Config) { c.TLS.CA = "/dev/null" }, "no PEM certificate"},
		{"password without user", func(c *Config) { c.PasswordFile = "x" }, "user name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := Config{Endpoints: []string{"127.0.0.1:1"}}
			c.conf(&conf)
			if s, err := Open(conf); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open = %v, %v; want ...%s...", s, err, c.want)
			}
		})
	}
}

// Operators' requests fail in words, and soon, when there is no etcd.
func TestOperatorWithoutEtcd(t *testing.T) {
	t.Parallel()
	s, err := Open(Config{Endpoints: []string{"http://" + freePort(t, "127.0.0.1")}})
	must(t, err)
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := s.View(ctx); err == nil || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "\n") {
		t.Errorf("View: %v", err)
	}
}

package health

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
)

// serve answers every request with the status in its path. The listener is
// opened here, in the test's namespace.
func serve(t *testing.T, wrap func(net.Listener) net.Listener) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscanf(r.URL.Path, "/%d", &code)
		w.Header().Set("Location", "/500")
		w.WriteHeader(code)
	})}
	go s.Serve(wrap(l))
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// encrypted wraps a listener with a certificate that nobody signed.
func encrypted(t *testing.T) func(net.Listener) net.Listener {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return func(l net.Listener) net.Listener { return tls.NewListener(l, config) }
}

func TestProbe(t *testing.T) {
	testns.New(t)
	testns.Run(t, "ip", "addr", "add", "198.18.7.1/32", "dev", "lo")
	testns.Run(t, "ip", "addr", "add", "fd00:7::1/128", "dev", "lo")
	plain := serve(t, func(l net.Listener) net.Listener { return l })
	secure := serve(t, encrypted(t))
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts by the kernel and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, c := range []struct {
		name     string
		health   fabric.BGPHealth
		prefixes string
		want     string // part of the reason, empty: it holds
	}{
		{"tcp", fabric.BGPHealth{TCP: plain}, "", ""},
		{"tcp refused", fabric.BGPHealth{TCP: "127.0.0.1:1"}, "", "refused"},
		{"http", fabric.BGPHealth{HTTP: "http://" + plain + "/204"}, "", ""},
		{"http redirect is not followed", fabric.BGPHealth{HTTP: "http://" + plain + "/302"}, "", ""},
		{"http error", fabric.BGPHealth{HTTP: "http://" + plain + "/503"}, "", "503"},
		{"http refused", fabric.BGPHealth{HTTP: "http://127.0.0.1:1/"}, "", "refused"},
		{"http silence", fabric.BGPHealth{HTTP: "http://" + silent.Addr().String() + "/"}, "", "not answer in time"},
		{"https", fabric.BGPHealth{HTTP: "https://" + secure + "/200"}, "", ""},
		{"https spoken to plain", fabric.BGPHealth{HTTP: "https://" + plain + "/200"}, "", "TLS"},
		{"address", fabric.BGPHealth{Interface: "lo"}, "198.18.7.1/32 fd00:7::/64", ""},
		{"one address missing", fabric.BGPHealth{Interface: "lo"}, "198.18.7.1/32 198.18.8.1/32", "198.18.8.1/32"},
		{"no such interface", fabric.BGPHealth{Interface: "dummy7"}, "198.18.7.1/32", "dummy7"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		spec := fabric.BGPPrefixSpec{Health: &c.health}
		for _, p := range strings.Fields(c.prefixes) {
			spec.Prefixes = append(spec.Prefixes, netip.MustParsePrefix(p))
		}
		err := Probe(ctx, spec)
		cancel()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %v", c.name, err)
		}
	}
}

// A server that takes the connection and says nothing does not hold up the end.
func TestFetchEndsWithItsContext(t *testing.T) {
	testns.New(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go func() {
		conn, err := ln.Accept() // the request is under way
		cancel()
		if err == nil { // the net under a probe that goes on
			time.AfterFunc(20*time.Second, func() { conn.Close() })
		}
	}()
	began := time.Now()
	if err := fetch(ctx, "http://"+ln.Addr().String()+"/"); err == nil || time.Since(began) > 15*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	ln.Close()
}

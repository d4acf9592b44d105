package rtnl

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/internal/testns"
)

// table adds a message that makes (or, gone, deletes) a table of family bridge.
func table(b *Batch, typ uint16, name string) {
	b.Netfilter(unix.NFNL_SUBSYS_NFTABLES, typ, unix.NLM_F_CREATE, unix.NFPROTO_BRIDGE)
	b.String(unix.NFTA_TABLE_NAME, name)
	if typ == unix.NFT_MSG_NEWTABLE {
		b.U32BE(unix.NFTA_TABLE_FLAGS, 0)
	}
}

// TestTransact: all of a transaction is in force or nothing is, each message has
// its own error, and the socket can go on after a rejected one.
func TestTransact(t *testing.T) {
	testns.New(t)
	c, err := DialNetfilter()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var b Batch
	table(&b, unix.NFT_MSG_NEWTABLE, "one")
	table(&b, unix.NFT_MSG_DELTABLE, "none")
	table(&b, unix.NFT_MSG_NEWTABLE, "two")
	errs, rejected, err := c.Transact(&b)
	if err != nil || !rejected || errs[0] != nil || !errors.Is(errs[1], unix.ENOENT) || errs[2] != nil {
		t.Errorf("%v, %t, %v; want ENOENT for the second alone", errs, rejected, err)
	}
	if out := testns.Run(t, "nft", "list", "tables"); out != "" {
		t.Errorf("of a rejected transaction there is %s", out)
	}
	b.Reset()
	table(&b, unix.NFT_MSG_NEWTABLE, "one")
	table(&b, unix.NFT_MSG_NEWTABLE, "two")
	errs, rejected, err = c.Transact(&b)
	if err != nil || rejected || errors.Join(errs...) != nil {
		t.Errorf("%v, %t, %v", errs, rejected, err)
	}
	if out := testns.Run(t, "nft", "list", "tables"); strings.Count(out, "table bridge") != 2 {
		t.Errorf("%s, want two tables", out)
	}
}

// TestTransactTooLong: what does not fit is an error and changes nothing.
func TestTransactTooLong(t *testing.T) {
	testns.New(t)
	c, err := DialNetfilter()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var b Batch
	for range 40000 {
		table(&b, unix.NFT_MSG_NEWTABLE, "one")
	}
	if _, _, err := c.Transact(&b); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("%v, want EMSGSIZE", err)
	}
	if out := testns.Run(t, "nft", "list", "tables"); out != "" {
		t.Errorf("there is %s", out)
	}
}

// TestWithin: the thread comes back, also from a function that fails.
func TestWithin(t *testing.T) {
	testns.New(t)
	there, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	testns.New(t)
	look := func() string {
		link, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	before := look()
	err = Within(int(there.Fd()), func() error {
		if look() == before {
			t.Error("it ran where it was called")
		}
		return unix.ENOSYS
	})
	if !errors.Is(err, unix.ENOSYS) || look() != before {
		t.Errorf("%v, in %s, want %s", err, look(), before)
	}
	if err := Within(-1, func() error { return nil }); err == nil || look() != before {
		t.Errorf("no namespace: %v, in %s", err, look())
	}
}

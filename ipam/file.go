package ipam

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fileName is the name of a subnet's slot file, as the subnet's key in etcd.
func fileName(subnet netip.Prefix) string {
	return fmt.Sprintf("%s-%d", subnet.Addr(), subnet.Bits())
}

// parseFileName is the inverse of fileName; false for any other file.
func parseFileName(name string) (netip.Prefix, bool) {
	addr, length, ok := strings.Cut(name, "-")
	a, err := netip.ParseAddr(addr)
	n, err2 := strconv.Atoi(length)
	if !ok || err != nil || err2 != nil {
		return netip.Prefix{}, false
	}
	p := netip.PrefixFrom(a, n)
	return p, checkSubnet(p) == nil && fileName(p) == name
}

// checkSubnet reports whether pods can get addresses from a subnet.
func checkSubnet(p netip.Prefix) error {
	if !p.IsValid() || p != p.Masked() || p.Addr().BitLen()-p.Bits() < 2 {
		return fmt.Errorf("%v is not a subnet with room for pods", p)
	}
	return nil
}

// withBook maps the file at path, settles it and calls fn on it. The caller
// holds the lock. os.ErrNotExist, errOtherBoot and *CorruptError say that
// there is nothing to work with.
func withBook(path string, g geometry, clock clock, fn func(*book) error) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return mapped(f, func(t table) error {
		if err := t.checkIdentity(g, clock.boot); err != nil {
			return err
		}
		b := &book{table: t, geometry: g, now: clock.now(), back: backer(f, g)}
		if err := b.settle(); err != nil {
			return err
		}
		return fn(b)
	})
}

// mapped maps the whole file while fn runs. A page that cannot be had (the
// disk is full, somebody cut the file short) would kill the process by SIGBUS;
// here it becomes an error.
func mapped(f *os.File, fn func(table) error) (err error) {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	// Bounds what a foreign file can make us map.
	if !st.Mode().IsRegular() || st.Size() < pageSize || st.Size() > 1<<28 {
		return corrupt(fmt.Sprintf("a file of %d bytes", st.Size()))
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map slot file: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Munmap(m)) }()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // runtime.errorAddressString
			err = corrupt("a page of it cannot be read or written")
		default:
			panic(r)
		}
	}()
	return fn(m)
}

// backer returns the function that secures disk space for slots below n.
func backer(f *os.File, g geometry) func(n uint32) error {
	return func(n uint32) error {
		err := unix.Fallocate(int(f.Fd()), 0, 0, int64(g.at(n)))
		if err == unix.EOPNOTSUPP {
			err = nil // then mapped turns a full disk into an error
		}
		if err != nil {
			return fmt.Errorf("disk space for the slot file: %w", err)
		}
		return nil
	}
}

// create makes a new file at path in one step and fills it by fn, after which
// everything else is derived from the slots.
func create(path string, g geometry, clock clock, fn func(*book) error) (err error) {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp))
		}
	}()
	if err := f.Truncate(int64(g.size())); err != nil {
		return err
	}
	back := backer(f, g)
	if err := back(min(backedRun, g.slots)); err != nil {
		return err
	}
	err = mapped(f, func(t table) error {
		t.writeIdentity(g, clock.boot)
		b := &book{table: t, geometry: g, now: clock.now(), back: back}
		if err := fn(b); err != nil {
			return err
		}
		if err := b.derive(); err != nil {
			return err
		}
		b.end()
		return nil
	})
	if err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// salvage calls fn with each whole slot, in use or freed, of a damaged file. A
// slot's sum says that it is of this boot and this subnet, so the header does
// not matter. The file is
// read, not mapped: reading a hole must not fill it.
func salvage(path string, g geometry, fn func(b *book, slot uint32) error) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	t := make(table, g.size())
	_, _ = f.ReadAt(t, 0) // a short file gives what it has, an unreadable one nothing
	b := &book{table: t, geometry: g}
	for slot := uint32(firstSlot); slot < g.slots; slot++ {
		if state, err := t.state(g, slot); err == nil && state != stateNever {
			if err := fn(b, slot); err != nil {
				return err
			}
		}
	}
	return nil
}

// clock tells the time within a boot, and which boot it is.
type clock struct {
	boot [16]byte
	now  func() int64 // ns since boot, suspend included
}

func systemClock() (clock, error) {
	const path = "/proc/sys/kernel/random/boot_id"
	text, err := os.ReadFile(path)
	if err != nil {
		return clock{}, err
	}
	c := clock{now: bootTime}
	id, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err != nil || copy(c.boot[:], id) != len(c.boot) {
		return clock{}, fmt.Errorf("%s holds no boot id", path)
	}
	return c, nil
}

func bootTime() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // fails for no clock that exists
	return ts.Nano()
}

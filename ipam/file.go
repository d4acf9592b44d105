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
	"unsafe"

	"golang.org/x/sys/unix"
)

// fileName is the name of a subnet's slot file, as the subnet's key in etcd.
func fileName(subnet netip.Prefix) string {
	return subnet.Addr().String() + "-" + strconv.Itoa(subnet.Bits())
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

// openFile opens without what package os does for files that can be polled: in
// a process of a millisecond these calls count.
func openFile(path string, flags int) (fd int, err error) {
	for {
		fd, err = unix.Open(path, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// openBook maps the file at path and settles it. The caller holds the lock,
// and closes the book. os.ErrNotExist, errOtherBoot and *CorruptError say that
// there is nothing to work with.
func openBook(path string, g geometry, c clock) (*book, error) {
	fd, err := openFile(path, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	b := &book{geometry: g, fd: fd, now: c.now()}
	if err := b.mapFile(); err != nil {
		return nil, errors.Join(err, b.close())
	}
	err = guard([]*book{b}, func() error {
		if err := b.checkIdentity(g, c.boot); err != nil {
			return err
		}
		return b.settle()
	})
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// mapFile maps the whole of the book's file.
func (b *book) mapFile() error {
	var st unix.Stat_t
	if err := unix.Fstat(b.fd, &st); err != nil {
		return err
	}
	// Bounds what a foreign file can make us map.
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size < pageSize || st.Size > 1<<28 {
		return corrupt(fmt.Sprintf("a file of %d bytes", st.Size))
	}
	m, err := unix.Mmap(b.fd, 0, int(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map slot file: %w", err)
	}
	b.table = m
	return nil
}

// close ends the use of a book; its table must not be touched any more.
func (b *book) close() error {
	var err error
	if b.table != nil {
		err = unix.Munmap(b.table)
		b.table = nil
	}
	return errors.Join(err, unix.Close(b.fd))
}

// guard calls fn, which works on the books. A page that cannot be had (the disk
// is full, somebody cut the file short) would kill the process by SIGBUS; here
// it becomes an error of the book that it belongs to.
func guard(books []*book, fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		fault, ok := r.(interface{ Addr() uintptr }) // runtime.errorAddressString
		if !ok {
			panic(r)
		}
		for _, b := range books {
			if from := uintptr(unsafe.Pointer(unsafe.SliceData(b.table))); fault.Addr()-from < uintptr(len(b.table)) {
				err = b.corrupt("a page of it cannot be read or written")
				return
			}
		}
		panic(r)
	}()
	return fn()
}

// back secures disk space for the chunk that a slot is in.
func (b *book) back(slot uint32) error {
	first := slot / chunkSlots * chunkSlots
	return allocateSpace(b.fd, b.at(first), min(chunkSize, b.size()-b.at(first)))
}

// allocateSpace secures disk space for a part of a file.
func allocateSpace(fd, from, length int) error {
	err := unix.Fallocate(fd, 0, int64(from), int64(length))
	for err == unix.EINTR {
		err = unix.Fallocate(fd, 0, int64(from), int64(length))
	}
	if err != nil && err != unix.EOPNOTSUPP { // without it guard turns a full disk into an error
		return fmt.Errorf("disk space for the slot file: %w", err)
	}
	return nil
}

// create makes a new file at path in one step and fills it by fn, after which
// everything else is derived from the slots.
func create(path string, g geometry, c clock, fn func(*book) error) (err error) {
	tmp := path + ".new"
	fd, err := openFile(tmp, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC)
	if err != nil {
		return err
	}
	b := &book{geometry: g, fd: fd, now: c.now()}
	defer func() {
		err = errors.Join(err, b.close())
		if err != nil {
			err = errors.Join(err, os.Remove(tmp))
		}
	}()
	if err := unix.Ftruncate(fd, int64(g.size())); err != nil {
		return err
	}
	if err := allocateSpace(fd, 0, g.slotsAt()); err != nil {
		return err
	}
	if err := b.mapFile(); err != nil {
		return err
	}
	err = guard([]*book{b}, func() error {
		b.writeIdentity(g, c.boot)
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

// clock tells the time within a boot, and which boot it is.
type clock struct {
	boot [16]byte
	now  func() int64 // ns since boot, suspend included
}

func systemClock() (clock, error) {
	const path = "/proc/sys/kernel/random/boot_id"
	fd, err := openFile(path, unix.O_RDONLY)
	if err != nil {
		return clock{}, fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	var text [64]byte
	n, err := unix.Read(fd, text[:])
	if err != nil {
		return clock{}, fmt.Errorf("%s: %w", path, err)
	}
	c := clock{now: bootTime}
	id, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text[:n])), "-", ""))
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

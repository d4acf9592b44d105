package ipam

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// damaged is a subnet with three pods whose file is about to be damaged; the
// kernel shows the first two.
type damaged struct {
	*Slots
	subnet netip.Prefix
	path   string
	notes  []string
}

func newDamaged(t *testing.T) *damaged {
	d := &damaged{subnet: netip.MustParsePrefix("10.0.0.0/24")}
	d.Slots = open(t, t.TempDir(), Options{
		InUse: func() ([]Use, error) {
			return []Use{
				{Attachment: pod(1), Addr: netip.MustParseAddr("10.0.0.2")},
				{Attachment: pod(2), Addr: netip.MustParseAddr("10.0.0.3")},
				{Attachment: pod(3), Addr: netip.MustParseAddr("fd00::9")}, // no business of this file
			}, nil
		},
		Note: func(_, reason string) { d.notes = append(d.notes, reason) },
	})
	// The pods' own file is made with nothing in use.
	plain := open(t, filepath.Dir(d.dir), Options{})
	for n := 1; n <= 3; n++ {
		allocate(t, plain, pod(n), d.subnet)
	}
	d.path = filepath.Join(d.dir, fileName(d.subnet))
	return d
}

func TestDamageNeverHandsOutWhatIsInUse(t *testing.T) {
	g := newGeometry(netip.MustParsePrefix("10.0.0.0/24"), [16]byte{})
	flip := func(off int) func([]byte) []byte {
		return func(b []byte) []byte { b[off] ^= 0x10; return b }
	}
	tests := []struct {
		name   string
		damage func([]byte) []byte
		note   string // "" where nobody can tell or nothing is lost
		third  bool   // pod 3, which the kernel does not show, is still known
	}{
		{"emptied", func([]byte) []byte { return nil }, "a file of 0 bytes", false},
		{"cut in the middle", func(b []byte) []byte { return b[:pageSize+5000] }, "bytes long", false},
		{"cut after the pods", func(b []byte) []byte { return b[:g.at(20)] }, "bytes long", true},
		{"longer", func(b []byte) []byte { return append(b, 0) }, "bytes long", true},
		{"foreign", func(b []byte) []byte { return []byte(strings.Repeat("#!/bin/sh\n", 1000)) }, "not a slot file", false},
		{"magic", flip(offMagic), "not a slot file", true},
		{"version", flip(offVersion), "version 18", true},
		{"boot id", flip(offBoot), "header checksum", true},
		{"another subnet's", func(b []byte) []byte {
			table(b).writeIdentity(newGeometry(netip.MustParsePrefix("10.0.1.0/24"), [16]byte{}), [16]byte(b[offBoot:]))
			return b
		}, "another subnet", true},
		{"a newer version's", func(b []byte) []byte {
			table(b).put32(offVersion, 9)
			table(b).put64(offIDSum, table(b).identitySum())
			return b
		}, "version 9", true},
		{"counter", flip(offFresh), "counters", true},
		{"free list", flip(offFreeHead), "counters", true},
		{"intent", flip(offIntent), "intent word", true},
		{"intent that names a slot in use", func(b []byte) []byte { table(b).put64(offIntent, 2); return b }, "intent word", true},
		{"zeroes after the header", func(b []byte) []byte { clear(b[pageSize:]); return b }, "", false},
		{"the pod's slot", flip(g.at(2) + slotContainer + 3), "slot 2 is damaged", true},
		{"the pod's state", flip(g.at(2)), "slot 2 is damaged", true},
		{"slot copied over the next", func(b []byte) []byte {
			copy(b[g.at(4):g.at(5)], b[g.at(2):g.at(3)])
			return b
		}, "slot 4 is damaged", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDamaged(t)
			data, err := os.ReadFile(d.path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(d.path, tt.damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			_, _ = d.List(t.Context()) // what reads every slot finds every damage
			got := allocate(t, d.Slots, pod(9), d.subnet).Addrs[0].Addr().String()
			if got == "10.0.0.2" || got == "10.0.0.3" || got == "10.0.0.4" && tt.third {
				t.Errorf("handed out %s, which is in use (notes %q)", got, d.notes)
			}
			if tt.note != "" && (len(d.notes) != 1 || !strings.Contains(d.notes[0], tt.note)) {
				t.Errorf("notes %q, want one with %q", d.notes, tt.note)
			}
			if _, err := os.Stat(d.path + ".damaged"); tt.note != "" && err != nil {
				t.Errorf("the damaged file is not kept: %v", err)
			}
			if tt.note != "" {
				want, _ := d.Lookup(t.Context(), pod(2))
				if diff := cmp.Diff([]string{"10.0.0.3"}, texts(want)); diff != "" {
					t.Errorf("pod 2 (-want +got):\n%s", diff)
				}
				check(t, d.Slots, d.subnet)
			}
		})
	}
}

// TestAnyFlippedBit flips every byte that means anything, one at a time.
func TestAnyFlippedBit(t *testing.T) {
	d := newDamaged(t)
	data, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	g := newGeometry(d.subnet, d.clock.boot)
	var offsets []int
	for off := range countersEnd + 16 {
		offsets = append(offsets, off)
	}
	for off := pageSize; off < pageSize+int(g.buckets)*4; off++ {
		offsets = append(offsets, off)
	}
	for off := g.at(1); off < g.at(6); off += 3 {
		offsets = append(offsets, off)
	}
	for _, off := range offsets {
		broken := append([]byte(nil), data...)
		broken[off] ^= 1 << (off % 8)
		if err := os.WriteFile(d.path, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		for n := 10; n < 12; n++ {
			g, err := d.Allocate(t.Context(), Claim{Attachment: pod(n)}, []netip.Prefix{d.subnet})
			if err != nil {
				t.Fatalf("byte %d: %v", off, err)
			}
			if a := g.Addrs[0].Addr().String(); a == "10.0.0.2" || a == "10.0.0.3" || a == "10.0.0.4" {
				t.Fatalf("byte %d: handed out %s", off, a)
			}
		}
		if _, err := d.Release(t.Context(), pod(3)); err != nil {
			t.Fatalf("byte %d: release: %v", off, err)
		}
	}
}

func TestFileCutWhileMapped(t *testing.T) {
	d := newDamaged(t)
	err := withBook(d.Slots, d.subnet, func(b *book) error {
		if err := os.Truncate(d.path, 0); err != nil {
			return err
		}
		_, _, err := b.find(pod(1).key())
		return err
	})
	var damage *CorruptError
	if !errors.As(err, &damage) {
		t.Errorf("cut while mapped: %v", err)
	}
}

func TestMissingFileIsMadeFromTheKernel(t *testing.T) {
	d := newDamaged(t)
	if err := os.RemoveAll(d.dir); err != nil {
		t.Fatal(err)
	}
	if a := allocate(t, d.Slots, pod(9), d.subnet).Addrs[0]; a.String() != "10.0.0.4/24" {
		t.Errorf("got %v", a)
	}
	// A kernel that cannot be asked means no file and no address.
	if err := os.RemoveAll(d.dir); err != nil {
		t.Fatal(err)
	}
	d.opts.InUse = func() ([]Use, error) { return nil, errors.New("no netlink today") }
	if g, err := d.Allocate(t.Context(), Claim{Attachment: pod(9)}, []netip.Prefix{d.subnet}); err == nil || !strings.Contains(err.Error(), "no netlink today") {
		t.Errorf("got %v, %v", g, err)
	}
	if _, err := os.Stat(d.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was made: %v", err)
	}
}

// TestHalfDone puts a slot and everything derived into the states that a death
// in the middle of an operation can leave, and lets the next process find them.
func TestHalfDone(t *testing.T) {
	garble := func(b *book) {
		for i := range int(b.buckets) * 4 {
			b.table[pageSize+i] ^= byte(i)
		}
		for off := offFreeHead; off < countersEnd; off++ {
			if off < offChunks {
				b.table[off] ^= 0xa5
			}
		}
	}
	tests := []struct {
		name string
		do   func(b *book)
		want []string // addresses in use afterwards, of pods at .2 .3 .4
	}{
		{"nothing but what is derived", func(b *book) { b.begin(0); garble(b) }, []string{"10.0.0.2", "10.0.0.3", "10.0.0.4"}},
		{"allocation not written", func(b *book) { b.begin(200) }, []string{"10.0.0.2", "10.0.0.3", "10.0.0.4"}},
		{"allocation half written", func(b *book) {
			b.begin(5)
			b.put32(b.at(5), stateUsed)
			b.put32(b.at(5)+slotSum, 77)
		}, []string{"10.0.0.2", "10.0.0.3", "10.0.0.4"}},
		{"allocation written, not committed", func(b *book) {
			b.begin(5)
			b.write(5, stateUsed, ownerOf(pod(9)))
			garble(b)
		}, []string{"10.0.0.2", "10.0.0.3", "10.0.0.4"}},
		{"release not written", func(b *book) { b.begin(3) }, []string{"10.0.0.2", "10.0.0.4"}},
		{"release written", func(b *book) { b.begin(3); b.write(3, stateFree, nil); garble(b) }, []string{"10.0.0.2", "10.0.0.4"}},
		{"renewal half written", func(b *book) {
			b.begin(3 | renewing)
			b.putText(b.at(3)+slotNetns, maxNetns, "/proc/1/ns")
			b.put64(b.at(3)+slotNetwork, 77)
			garble(b)
		}, []string{"10.0.0.2", "10.0.0.3", "10.0.0.4"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDamaged(t)
			d.opts.InUse = nil
			err := withBook(d.Slots, d.subnet, func(b *book) error { tt.do(b); return nil })
			if err != nil {
				t.Fatal(err)
			}
			list, err := d.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range list {
				if s.InUse {
					got = append(got, s.Addr.String())
				}
				if known, _ := s.InNetwork("n"); known || s.NetnsPath != "" {
					t.Errorf("%+v has what a dead process was writing", s)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || len(d.notes) != 0 {
				t.Errorf("notes %q, in use (-want +got):\n%s", d.notes, diff)
			}
			check(t, d.Slots, d.subnet)
		})
	}
}

// FuzzSlotFile writes any bytes over a slot file and works with it: it must
// end, and no address may be handed out twice, nor one that the kernel shows.
func FuzzSlotFile(f *testing.F) {
	f.Add([]byte{}, uint32(0))
	f.Add([]byte("weftslot"), uint32(0))
	f.Add([]byte{1, 0, 0, 0}, uint32(offFreeHead))
	f.Add([]byte{9}, uint32(pageSize))
	f.Add([]byte{3, 0, 0, 0, 0xfc, 0xff, 0xff, 0xff}, uint32(offIntent))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff}, uint32(offClosed))
	f.Add([]byte{0}, uint32(offChunks))
	subnet := netip.MustParsePrefix("10.0.0.0/28")
	kernel := Use{Attachment: pod(0), Addr: netip.MustParseAddr("10.0.0.7")}
	f.Fuzz(func(t *testing.T, data []byte, at uint32) {
		dir := t.TempDir()
		plain := open(t, dir, Options{})
		for n := 10; n < 15; n++ {
			allocate(t, plain, pod(n), subnet)
		}
		release(t, plain, pod(11))
		release(t, plain, pod(14))
		path := filepath.Join(plain.dir, fileName(subnet))
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if at == 0 {
			file = data
		} else {
			copy(file[int(at)%len(file):], data)
		}
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, Options{InUse: func() ([]Use, error) { return []Use{kernel}, nil }})
		if _, err := s.Counts(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		seen := map[netip.Addr]bool{}
		for n := 20; n < 36; n++ {
			c := Claim{Attachment: pod(n), Pod: "p", Sticky: n%3 == 0}
			if n%3 == 1 {
				c.Want = addrs(fmt.Sprintf("10.0.0.%d", n-20))
			}
			g, err := s.Allocate(t.Context(), c, []netip.Prefix{subnet})
			if errors.Is(err, ErrFull) || errors.Is(err, ErrClosed) {
				break
			}
			if n%3 == 1 && (errors.Is(err, ErrInUse) || errors.Is(err, ErrReserved)) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if a := g.Addrs[0].Addr(); seen[a] {
				t.Fatalf("%v twice", a)
			} else {
				seen[a] = true
			}
		}
	})
}

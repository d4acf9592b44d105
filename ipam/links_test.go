package ipam

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBadLink: links are not summed; one that leads astray hands out nothing
// that is in use and loses nothing that is free.
func TestBadLink(t *testing.T) {
	subnet := netip.MustParsePrefix("10.0.0.0/29") // .2 to .6
	for _, tt := range []struct {
		name string
		bend func(b *book)
		want []netip.Addr // asked for by the first of two
		got  []string
	}{
		{"next", func(b *book) { b.put32(b.at(3)+slotNext, 5) }, nil, []string{"10.0.0.3", "10.0.0.4"}},
		{"previous", func(b *book) { b.put32(b.at(4)+slotPrev, 6) }, addrs("10.0.0.4"), []string{"10.0.0.4", "10.0.0.3"}},
		{"previous, far out", func(b *book) { b.put32(b.at(4)+slotPrev, 1<<31) }, addrs("10.0.0.4"), []string{"10.0.0.4", "10.0.0.3"}},
		{"chain", func(b *book) { b.put32(b.bucket(pod(1).key()), 0) }, addrs("10.0.0.3"), []string{"10.0.0.3", "10.0.0.4"}},
		{"chain in a circle", func(b *book) { b.put32(b.at(3)+slotChain, 3) }, addrs("10.0.0.4"), []string{"10.0.0.4", "10.0.0.3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, t.TempDir(), Options{})
			for n := range 5 {
				allocate(t, s, pod(n), subnet)
			}
			release(t, s, pod(1)) // slots 3 and 4 are free, in this order
			release(t, s, pod(2))
			if err := withBook(s, subnet, func(b *book) error { tt.bend(b); return nil }); err != nil {
				t.Fatal(err)
			}
			got := claim(t, s, Claim{Attachment: pod(1), Want: tt.want}, subnet)
			got = append(got, claim(t, s, Claim{Attachment: pod(11)}, subnet)...)
			if diff := cmp.Diff(tt.got, got); diff != "" {
				t.Errorf("handed out (-want +got):\n%s", diff)
			}
			check(t, s, subnet)
		})
	}
}

// TestFreshIsFoundOnce: after everything was derived anew, finding out that no
// slot is fresh costs one walk, not one for each allocation.
func TestFreshIsFoundOnce(t *testing.T) {
	d := newDamaged(t)
	err := withBook(d.Slots, d.subnet, func(b *book) error {
		for n := 10; ; n++ {
			if _, err := b.allocate(ownerOf(pod(n))); err != nil {
				break
			}
		}
		b.begin(70) // as if killed while it was released
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	allocate(t, d.Slots, pod(9), d.subnet)
	err = withBook(d.Slots, d.subnet, func(b *book) error {
		if fresh := b.u32(offFresh); fresh != b.slots {
			t.Errorf("the next allocation looks again from slot %d", fresh)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

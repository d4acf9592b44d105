package store

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRecords: what is asked for as it is, garbage and neighbours included
// where they belong.
func TestRecords(t *testing.T) {
	t.Parallel()
	e := newEtcd(t)
	c := e.client()
	st, ctx := operator(t, e), context.Background()
	if got, err := st.Records(ctx, "bgppeers/"); err != nil || len(got) != 0 {
		t.Errorf("of nothing: %v, %v", got, err)
	}
	for _, key := range []string{"bgppeers/b", "bgppeers/a", "bgppeersandmore/x", "bgppeer", "fabric"} {
		put(t, c, key, "value of "+key)
	}
	got, err := st.Records(ctx, "bgppeers/")
	must(t, err)
	for i := range got {
		_, rev, err := st.Get(ctx, got[i].Key)
		must(t, err)
		if got[i].ModRev != rev {
			t.Errorf("%s: revision %d, want %d", got[i].Key, got[i].ModRev, rev)
		}
		got[i].ModRev = 0
	}
	want := []Record{{Key: "bgppeers/a", Value: []byte("value of bgppeers/a")}, {Key: "bgppeers/b", Value: []byte("value of bgppeers/b")}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

// otherVNI is a migration of the Fabric that is stored to another VNI.
func otherVNI(t *testing.T, s *store.Store) fabric.Migration {
	t.Helper()
	snap, err := s.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := fabric.Migration{ID: "one", From: snap.Spec.Plan(), To: snap.Spec.Plan(), Rate: 1}
	m.To.VXLAN.VNI, m.To.VXLAN.Generation = 2, m.From.VXLAN.Generation+1
	return m
}

// TestApplyWhileAMigrationIsUnderWay: what it decides stays, the rest may
// change; the overlay's generation is nobody's to write.
func TestApplyWhileAMigrationIsUnderWay(t *testing.T) {
	env := etcd(t)
	apply := func(text string, code int, part string) {
		t.Helper()
		r := command(t, env, text, "apply", "-f", "-")
		if r.code != code || !strings.Contains(r.out+r.err, part) {
			t.Errorf("want %d, ...%s...: %+v", code, part, r)
		}
	}
	apply(fabricYAML, exitDone, "written")
	s := openStore(t, env)
	crossing := planOf(t, s, strings.Replace(fabricYAML, "ttl: 1h", "ttl: 2h", 1))
	if err := s.Migrate(t.Context(), otherVNI(t, s)); err != nil {
		t.Fatal(err)
	}
	if err := write(t.Context(), s, crossing); !errors.Is(err, store.ErrChanged) {
		t.Errorf("checked before the migration began, written after: %v", err)
	}
	apply(fabricYAML+"  vxlan: {vni: 2}\n", exitFailed, "spec.vxlan.vni: 1 -> 2 cannot change while a migration is under way")
	apply(fabricYAML+"  overlay: never\n", exitFailed, "spec.overlay: the default -> never cannot change while a migration is under way")
	apply(fabricYAML+"  reserved: [10.244.0.0/24]\n", exitDone, "written")

	value, rev, err := s.Get(t.Context(), keyOfFabric)
	if err != nil {
		t.Fatal(err)
	}
	moved := strings.Replace(string(value), `"vni":1,`, `"vni":2,"generation":1,`, 1)
	if err := s.FinishMigration(t.Context(), "one", 0, &store.Change{Key: keyOfFabric, Value: []byte(moved), ModRev: rev}); err != nil {
		t.Fatal(err)
	}
	join(t, env, nodeOf("host5", 0, "198.18.0.5", ""))
	apply(fabricYAML+"  vxlan: {vni: 2}\n", exitDone, "written") // nothing reserved any more
	if snap, err := s.View(t.Context()); err != nil || snap.Spec.VXLAN.Generation != 1 {
		t.Errorf("apply lost the generation: %+v, %v", snap.Spec.VXLAN, err)
	}
	apply(fabricYAML+"  vxlan: {vni: 2, generation: 2}\n", exitFailed, "only `weft migrate` counts it")
	apply(fabricYAML+"  vxlan: {vni: 3}\n", exitFailed, "`weft migrate vxlan --vni 3` moves them")
	apply(fabricYAML+"  backend: bgp\n  vxlan: {vni: 2}\n", exitFailed, "`weft migrate vxlan-to-bgp` moves them")
	for _, f := range []string{formYAML, formJSON} {
		apply(command(t, env, "", "get", "fabric", "-o", f).out, exitDone, "unchanged")
	}
}

package routing

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
)

// verdictsFile keeps what the probes found over a restart of the agent, in the
// run directory: after a reboot nothing of it would hold.
const verdictsFile = "health.json"

// earlierVerdicts are those that an earlier life of the agent left. A file that
// cannot be read is as none.
func (t *Task) earlierVerdicts() map[string]bool {
	var out map[string]bool
	data, err := os.ReadFile(filepath.Join(t.opt.RunDir, verdictsFile))
	if err != nil || json.Unmarshal(data, &out) != nil {
		return nil
	}
	t.files.verdicts = out
	return out
}

// verdicts are what the probes found, by name of the object; what is not known
// yet is not there. What changed is kept for the next life.
func (t *Task) verdicts() map[string]bool {
	out := map[string]bool{}
	for name, v := range t.checks.Verdicts() {
		if v.Known {
			out[name] = v.Healthy
		}
	}
	if len(out)+len(t.files.verdicts) == 0 || reflect.DeepEqual(out, t.files.verdicts) {
		return out
	}
	if err := t.keepVerdicts(out); err != nil {
		t.opt.Log.WithError(err).Warn("what the probes found is not kept over a restart")
	}
	t.files.verdicts = out
	return out
}

func (t *Task) keepVerdicts(v map[string]bool) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	path := filepath.Join(t.opt.RunDir, verdictsFile)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

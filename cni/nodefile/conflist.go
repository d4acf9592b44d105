package nodefile

import "encoding/json"

// Conflist is the CNI network configuration list that hands pods to weft's
// plugin, for the file 10-weft.conflist in the runtime's directory.
func Conflist(runDir string) []byte {
	type plugin struct {
		Type   string `json:"type"`
		RunDir string `json:"runDir"`
	}
	data, err := json.MarshalIndent(struct {
		CNIVersion string   `json:"cniVersion"`
		Name       string   `json:"name"`
		Plugins    []plugin `json:"plugins"`
	}{"1.0.0", "weft", []plugin{{"weft", runDir}}}, "", "  ")
	if err != nil {
		return nil // strings always marshal
	}
	return append(data, '\n')
}

package nodefile

import "encoding/json"

// Conflist is the CNI network configuration list that hands pods to weft's
// plugin, for the file 10-weft.conflist in the runtime's directory. A runtime
// that knows cniVersions takes the newest there that it speaks; to one that
// does not it is a key like any other, and it speaks cniVersion.
func Conflist(runDir string) []byte {
	type plugin struct {
		Type   string `json:"type"`
		RunDir string `json:"runDir"`
		// Capabilities are what the runtime passes on of what it is asked for.
		Capabilities map[string]bool `json:"capabilities"`
	}
	data, err := json.MarshalIndent(struct {
		CNIVersion  string   `json:"cniVersion"`
		CNIVersions []string `json:"cniVersions"`
		Name        string   `json:"name"`
		Plugins     []plugin `json:"plugins"`
	}{"1.0.0", []string{"1.0.0", "1.1.0"}, "weft", []plugin{{"weft", runDir, map[string]bool{
		"ips": true, "mac": true, "aliases": true, "io.kubernetes.cri.pod-annotations": true,
	}}}}, "", "  ")
	if err != nil {
		return nil // strings always marshal
	}
	return append(data, '\n')
}

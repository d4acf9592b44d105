// Package ipam answers two questions: which subnet a node gets (Choose, a pure
// function that the store calls inside its transactions) and which address a
// pod gets (Slots, the files below the run directory that the CNI plugin takes
// addresses from).
//
// It knows nothing of etcd, of netlink or of containers' namespaces: what the
// kernel holds is handed in by the callers. Everything here is linked into the
// CNI plugin, so it stays on the standard library and x/sys.
package ipam

// Package lab makes several weft hosts out of network namespaces on one
// machine: an underlay of racks with a top-of-rack switch each and a spine
// that routes between them, a real etcd server, agents as processes of the
// real weftd, pods attached through the real CNI plugin, probes that count
// every lost packet, and faults. The demo, the end-to-end tests and the
// benchmarks stand on it.
//
// A lab touches the machine in three places only: network namespaces named
// weft-<lab>-*, the directory /run/weft-lab/<lab>, and processes inside those
// namespaces. Nothing in it is connected to the machine's own namespace.
// A lab whose process died is removed by the next one (see Sweep).
//
// Only cmd/weft-lab and tests import this package.
package lab

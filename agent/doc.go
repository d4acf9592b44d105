// Package agent is weftd, the daemon on every node. Run is a group of tasks:
// the store's session (list, claim, watch, keep alive), the reconcile loop, the
// underlay watch, the liveness probes, the probes of paths (package probe), BGP
// (package routing), this node's part in migrations (package migrate), the slot
// sweep, the health endpoint and the control socket. All but the loop only hand
// it the newest of what they know and kick it; the loop alone owns what is wanted
// of the kernel and writes it. A task never ends the process by itself: one that returns an
// error ends the group, and main decides.
//
// An agent that stops leaves everything in the kernel as it is.
package agent

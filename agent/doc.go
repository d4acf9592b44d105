// Package agent is weftd, the daemon on every node. Run is a group of tasks:
// the store's session (list, claim, watch, keep alive), the reconcile loop, the
// liveness probes, the underlay watch, the slot sweep, the health endpoint and
// the control socket. All but the loop only hand it the newest of what they
// know and kick it; the loop alone owns what is wanted of the kernel and
// writes it. A task never ends the process by itself: one that returns an
// error ends the group, and main decides.
//
// An agent that stops leaves everything in the kernel as it is.
package agent

// Package routing is the agent's BGP task: it gathers what this node knows
// (the fabric's snapshot, the node's own file, MD5 files, gateways, probes,
// drain and shutdown), has package bgp plan what the speaker should do, and
// hands that to the speaker. What the speaker learns goes to the agent's
// reconcile loop, which takes it from here and alone writes the kernel.
//
// All state is the task's goroutine's. Everything is computed whole in every
// step; a step follows every piece of news and every second.
//
// What resets sessions waits for its turn: one session of this node and one node
// at each far end at a time.
package routing

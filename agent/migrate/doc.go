// Package migrate is the agent's part in a migration, by which a fabric moves
// from one plan to another while it runs: from an overlay to routing and back,
// or to another overlay (fabric.Migration). Nobody leads one. Every agent reads
// in the snapshot what is asked for and how far the others are, and does its
// share: it looks whether its host is fit for the new plan, says when it receives
// by both, waits for its turn and then moves what it sends, some peers at a time.
//
// A move is a record: the loop sends a peer by the plan that
// fabric.Snapshot.PlanFor says, and this task writes how far that goes
// (Cursor). Before each step it sends probes of full size by the ways to be
// taken, and after it by those that are taken; where an answer is missing that
// comes by the way before, the step is taken back and the whole migration
// pauses. Nothing is remembered that is not in the snapshot, so a task that dies
// at any line is followed by one that goes on.
//
// The task programs nothing itself and knows neither etcd nor the kernel; it is
// run by package agent.
package migrate

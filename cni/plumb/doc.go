// Package plumb makes, inspects and removes what connects a pod to its host:
// the veth pair, the bridge port, addresses and routes, and the guard that keeps
// a pod to its own addresses. It writes netlink messages in few batches and keeps
// no state: what it needs to know later it writes into the host interface's alias
// and the guard's elements. The CNI plugin calls it for every pod; the agent asks
// it which addresses the kernel shows to be in use, and has it repair the guards.
package plumb

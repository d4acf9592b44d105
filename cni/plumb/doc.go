// Package plumb makes, inspects and removes what connects a pod to its host:
// the veth pair, the bridge port, addresses and routes. It writes netlink
// messages in few batches and keeps no state: what it needs to know later it
// writes into the host interface's alias. The CNI plugin calls it for every
// pod; the agent asks it which addresses the kernel shows to be in use.
package plumb

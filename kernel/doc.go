// Package kernel keeps the host's network state as weft wants it. A Host holds
// two sets of objects: what is wanted, and what the kernel says there is. It
// learns of the latter from dumps and notifications only, never from its own
// intentions, computes the difference and writes it in order with few system
// calls. It touches only what is weft's own (route protocol, nexthop range,
// device and table names) and reports a conflict where somebody else's object
// stands at a wanted key.
//
// Only this package and cni speak netlink. One goroutine, the agent's
// reconcile loop, calls a Host. What looks or acts outside of that loop has a
// socket of its own and writes no object: FindUnderlay, Neighbours, Traffic,
// ForwardFilters, VXLANDevices, ForgetPathMTU.
package kernel

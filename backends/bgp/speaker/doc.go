// Package speaker carries out a bgp.Desired: it is the one package that knows
// GoBGP. It starts and stops the embedded server, keeps its sessions, policies
// and own routes as they are wanted, and hands out what peers told, coalesced
// to the newest set of next hops per prefix. It decides nothing: which sessions
// there are, what they accept and what is announced comes in through Set. It
// never touches the kernel's routes.
//
// The agent calls it, and the lab's built-in router. A process can have one
// Speaker at a time: GoBGP keeps some of its options in package variables. The
// process must live in the network namespace that it speaks in, as GoBGP opens
// its sockets on whatever thread it is on.
package speaker

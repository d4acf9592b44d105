// Package health watches over the conditions of BGPPrefix objects: whether a
// service on this host accepts connections, answers a request, or holds its
// address. The agent's routing announces a prefix while its condition holds.
//
// Every condition has a goroutine of its own, so one that hangs delays no
// other; how many probes are under way at once is bounded. A verdict turns only
// after so many answers in a row. What it was outlives the agent: an agent that
// restarts goes on with the earlier verdict, so that its restart withdraws
// nothing.
package health

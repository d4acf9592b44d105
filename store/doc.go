// Package store keeps the fabric in etcd: records and transactions one way,
// list and watch into immutable snapshots the other. It is the one package of
// weft that speaks to etcd, and no type of etcd's leaves it.
//
// An agent runs one Session: one range over everything, one watch, one stream
// that keeps two leases alive, whatever the number of peers. Operators'
// commands use the Store's methods directly.
//
// The parts, from the pure to the impure:
//
//	keys, records   what a key and a value mean; refuses what no version writes
//	view            records folded into a snapshot, one event at a time
//	settle          which of two colliding records counts: the older, everywhere
//	hold            which removals are believed
//	claim           what a node must write to own its share, as one transaction
//	session, watch, own, keeper, cache, list, lease, client   the I/O around them
//
// Only settle, hold and claim decide; each depends on nothing but its
// arguments, so that all nodes decide alike and tests need no etcd.
package store

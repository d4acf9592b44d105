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
//	settle, overlap which of two colliding records counts: the older, everywhere
//	hold            which removals of peers are believed
//	objects,        the operators' objects of BGP, drains and the migration, and
//	objecthold      which removals of them are believed
//	migration       what a migration's record and the nodes' reports on it mean
//	claim, subnets  what a node must write to own its share, as one transaction
//	session, watch, own, keeper, cache, list, lease, client   the I/O around them
//	errand, lock, drain, report   what a session writes besides its own records
//	operator, list, migrate   what operators' commands write and read
//
// # Why it is as it is
//
// Keys of subnets are padded to a fixed width, so that their order is that of
// the addresses. etcd can compare a whole range of keys in a transaction: one
// compare says that nothing inside a prefix exists, a few more that nothing
// around it does. A claim thus checks overlap inside the transaction, with no
// lock and no extra key, and two nodes cannot own overlapping subnets whatever
// they believed when they chose.
//
// A node's index is unique because the claim of a new one compares the whole
// folder of nodes. A node that merely puts its record back does not: after a
// wipe all nodes do that at once, and each would spoil the others' compares.
// Should two have one index, the younger gives it up by itself.
//
// Ids of etcd leases follow from what they are for, so restarts reuse them.
//
// A lost race is decided again when the watch has brought what was not known;
// there is one source of truth, never a read on the side.
//
// After a break in the connection one key is read instead of everything: the
// newest write that the view knows of. If etcd still has it at that revision,
// its history is the one the view was made from, and the watch goes on. A
// restored or replaced etcd is found out by that even when its revision has
// passed the one we saw, and its list is then believed for what it has, but
// not for what it lacks.
//
// Records that are gone are told from records that say so. A removal by an
// operator leaves `removed/<name>` for a day, so that a hundred removals are a
// hundred facts and not a mass disappearance.
//
// Only settle, hold and claim decide; each depends on nothing but its
// arguments, so that all nodes decide alike and tests need no etcd.
package store

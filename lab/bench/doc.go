// Package bench measures weftd and the plugin against floors that are
// measured in the same run, because a machine's own speed changes from one
// minute to the next: a bare program that does the same to the kernel, the
// bare etcd put, the reference plugins. Peers are simulated: their records in
// etcd are real, their hosts do not exist.
//
// It stands on package lab; weft-lab bench calls it. Besides store and the
// embedded server this is the only place that speaks to etcd: it plays the
// thousands of agents that are not there.
package bench

// Package rtnl speaks rtnetlink in bulk: many messages per system call, no
// acknowledgements asked for, dumps that are retried when the kernel says that
// they were interrupted. It knows framing and attributes and nothing of what
// they mean; packages kernel and cni build the messages. It has no state but
// its sockets and links nothing heavy, because the CNI plugin pays for every
// init function at each pod.
package rtnl

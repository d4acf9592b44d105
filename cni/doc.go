// Package cni is weft's CNI plugin (type "weft"): ADD, DEL, CHECK, GC, STATUS
// and VERSION of the specification versions 0.3.1 to 1.1.0. It attaches pods to
// the host's bridge with what the agent wrote into the node file, takes their
// addresses from the slot files and programs the kernel itself, so that pods
// come and go while the agent and etcd are down.
//
// The process lives for a few milliseconds and runtimes start one for each
// operation, so start-up is part of the work: nothing here links a logger, a
// netlink library or an RPC stack. The reading of the environment is written
// out instead of taken from the CNI project's skel, which prints an ADD's result
// before it refuses the namespace, demands CNI_PATH, and leaves cniVersion out
// of its errors; the results, their older forms and the names' rules are the
// project's own.
//
// cmd/weft-cni calls Main and nothing else does.
package cni

// Package runtimes runs real container runtimes on the hosts of a lab: podman,
// buildah, containerd through ctr and through its CRI, and cnitool. They find
// the conflist that the agent wrote and call the real plugin.
//
// A host of a lab is a network namespace; a Machine adds what else a runtime
// takes for its own: mounts, processes, cgroups, /etc, /run, /opt and
// /var/lib. All of it is the machine's alone and goes with its first process,
// which dies with the one that booted it; an empty cgroup is all that can
// be left, and the next Boot removes it.
//
// Tests alone use this package. It needs root: runtimes on one user id of a
// user namespace would be another product.
package runtimes

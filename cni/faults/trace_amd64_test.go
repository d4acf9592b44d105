package faults

import "golang.org/x/sys/unix"

// archNoise are the calls of Go's runtime that other processors do not have.
func archNoise(nr uint64) bool { return nr == unix.SYS_ARCH_PRCTL }

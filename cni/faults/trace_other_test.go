//go:build !amd64

package faults

func archNoise(uint64) bool { return false }

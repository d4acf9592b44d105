// Package cli is the command line, `weft`: what operators type. Each command
// reads the node's own configuration to find etcd, the agent's socket or the
// files that the CNI plugin writes, asks or reads these, and prints. It holds no
// knowledge of its own about the fabric: what is valid and what may change is
// package config's to say, what is written and how is package store's.
//
// What a command prints on standard output is its result, on standard error
// are notes and at most one line of error. The exit codes are an interface:
//
//	0  done
//	1  refused or failed; the line on standard error says why
//	2  the command line, the configuration or an object's file is wrong
//	3  the answer is no: `diff` found differences, `status` a node not ready,
//	   `peers` one that cannot be reached, `bgp peers` a session down, `bgp why` a
//	   fault, `migrate --dry-run` a check that fails, `migrate status` a migration
//	   paused or refused; or `migrate` was ended before the migration, which goes on
//	4  etcd or the agent cannot be asked
package cli

// Package fabric is the vocabulary of weft: nodes, subnets, the fabric's
// specification and the immutable snapshot that the rest of the program
// computes with. It holds values only: no I/O, no goroutines, no clock, and
// nothing but the standard library. Every other package may import it.
package fabric

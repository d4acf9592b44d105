// Package hostile is a BGP speaker that does what no decent one would: it
// writes messages byte by byte, true or false, so that tests can show that an
// agent survives the peer that an operator did not expect. It opens a session
// properly (RFC 4271), keeps it alive, and leaves the rest to its caller. It
// must not be used for anything but tests and benchmarks; nothing in it
// understands routes.
package hostile

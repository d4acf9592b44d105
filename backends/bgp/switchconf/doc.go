// Package switchconf is the switch's side of the fabric's sessions. From the
// Fabric's spec, the BGP objects and the nodes it computes the neighbours that
// one top-of-rack switch (or external route reflector) should have, and writes
// them as configuration for FRR, BIRD, EOS, NX-OS, Junos or SONiC.
//
// It is pure: no I/O, no clock. It writes placeholders where secrets belong and
// never learns a secret. What it writes is meant to be read by a person before
// it is loaded; the lab loads it as it is. Callers are `weft bgp tor-config`
// and the lab.
package switchconf

// Package house checks the rules of the house: who may import whom, what no
// file may contain, that every dependency is accounted for, and that what is
// installed and documented is what the code has. It holds tests only, and
// nothing imports it.
package house

package kernel

// kind is a kind of objects. The order is that in which they come up: each
// may need those before it.
type kind uint8

const (
	links kind = iota
	sysctls
	addrs
	masquerade
	fdb
	neighs
	nexthops
	groups
	routes
	kinds // their number
)

var kindNames = [kinds]string{"link", "sysctl", "address", "masquerade", "fdb", "neighbour", "nexthop", "group", "route"}

func (k kind) String() string { return kindNames[k] }

// verb is what is done to an object.
type verb uint8

const (
	create  verb = iota // it is not there
	change              // it is there with another value, and changed in place
	remake              // it cannot be changed: delete and create
	destroy             // it is not wanted
)

// op is one step of a plan: what to do to entry slot of kind's table. The
// values are read from the entry when the step is taken.
type op struct {
	kind kind
	verb verb
	slot int32
}

package kernel

// Read learns what the kernel holds and writes nothing, so that Held and
// Retained answer before anything is wanted. The next Sync reads all of it once
// more, as it must look for others' objects in the places of what is wanted by
// then.
func (h *Host) Read() error {
	err := h.drain()
	if err == nil {
		err = h.dumpLinks()
	}
	if err == nil {
		err = h.dumpRest()
	}
	if err == nil {
		err = h.drain()
	}
	h.state.tidy()
	return err
}

// Held is the route of weft's own that the kernel holds at a key, as of the
// last Read or Sync; ok is false where there is none, or one of a type that
// weft does not make.
func (h *Host) Held(k RouteKey) (r Route, ok bool) {
	k = k.normal()
	e := h.state.routes.find(k)
	if e == nil || !e.present || e.actual.typ == otherType {
		return Route{}, false
	}
	return Route{RouteKey: k, Type: e.actual.typ, Nexthop: e.actual.nexthop, MTU: e.actual.mtu}, true
}

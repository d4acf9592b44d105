package kernel

// entry is one object: what is wanted of it and what the kernel holds.
type entry[K, V comparable] struct {
	key          K
	want, actual V
	dump         uint32 // the dump that last showed it
	wanted       bool
	present      bool // the kernel holds it
	queued       bool // its index is in table.dirty
	asked        bool // what is wanted changed since it was last in place
	stuck        bool // it cannot be changed as it stands: it must go first
	kept         bool // it is not wanted and stays all the same, see Retain
}

// placed reports whether the kernel holds what is wanted, or what is kept.
func (e *entry[K, V]) placed() bool {
	switch {
	case e.wanted:
		return e.present && e.want == e.actual && !e.stuck
	case e.present:
		return e.kept
	}
	return true
}

// table holds the objects of one kind. The entries lie in one slice, so that a
// hundred thousand of them cost no allocation each; an index stays valid until
// the next tidy.
type table[K, V comparable] struct {
	index   map[K]int32
	entries []entry[K, V]
	free    []int32
	dirty   []int32 // all that are not placed, and some that are by now
	dump    uint32
	kept    int // entries that are kept
}

func newTable[K, V comparable]() table[K, V] {
	return table[K, V]{index: map[K]int32{}}
}

// reserve makes room for n entries in an empty table.
func (t *table[K, V]) reserve(n int) {
	if len(t.entries) == 0 && n > 0 {
		t.index, t.entries, t.dirty = make(map[K]int32, n), make([]entry[K, V], 0, n), make([]int32, 0, n)
	}
}

// find returns the entry for k, or nil. The pointer is valid until the next
// entry is added.
func (t *table[K, V]) find(k K) *entry[K, V] {
	if i, ok := t.index[k]; ok {
		return &t.entries[i]
	}
	return nil
}

func (t *table[K, V]) at(k K) int32 {
	if i, ok := t.index[k]; ok {
		return i
	}
	var i int32
	if n := len(t.free); n > 0 {
		i, t.free = t.free[n-1], t.free[:n-1]
	} else {
		i = int32(len(t.entries))
		t.entries = append(t.entries, entry[K, V]{})
	}
	t.entries[i] = entry[K, V]{key: k}
	t.index[k] = i
	return i
}

// check records whether entry i is in place after something about it changed.
func (t *table[K, V]) check(i int32) {
	e := &t.entries[i]
	if e.placed() {
		e.asked = false
		return
	}
	if !e.queued {
		e.queued = true
		t.dirty = append(t.dirty, i)
	}
}

func (t *table[K, V]) setWant(k K, v V) {
	i := t.at(k)
	e := &t.entries[i]
	if !e.wanted || e.want != v {
		e.want, e.wanted, e.asked = v, true, true
		t.setKept(e, false)
	}
	t.check(i)
}

// dropWant ends the wish for v at k. Where another value is wanted by now,
// that wish stays.
func (t *table[K, V]) dropWant(k K, v V) {
	if e := t.find(k); e != nil && e.wanted && e.want == v {
		e.wanted, e.asked = false, true
		t.check(t.index[k])
	}
}

// endWant ends the wish at k, whatever it is.
func (t *table[K, V]) endWant(k K) {
	if e := t.find(k); e != nil {
		t.dropWant(k, e.want)
	}
}

// keepWant ends every wish but those that keep accepts.
func (t *table[K, V]) keepWant(keep map[K]bool) {
	for i := range t.entries {
		if e := &t.entries[i]; e.wanted && !keep[e.key] {
			e.wanted, e.asked = false, true
			t.check(int32(i))
		}
	}
}

// setActual and dropActual take in what the kernel said.
func (t *table[K, V]) setActual(k K, v V) {
	i := t.at(k)
	e := &t.entries[i]
	e.stuck = e.stuck && e.present && e.actual == v
	e.actual, e.present, e.dump = v, true, t.dump
	t.check(i)
}

func (t *table[K, V]) dropActual(k K) {
	if e := t.find(k); e != nil && e.present {
		e.present, e.stuck = false, false
		t.setKept(e, false)
		t.check(t.index[k])
	}
}

// beginDump starts a dump and endDump drops what it did not show.
func (t *table[K, V]) beginDump() { t.dump++ }

func (t *table[K, V]) endDump() {
	for i := range t.entries {
		if e := &t.entries[i]; e.present && e.dump != t.dump {
			t.dropActual(e.key)
		}
	}
}

// tidy forgets, of the dirty entries, those that are in place, and frees
// those that are neither wanted nor there.
func (t *table[K, V]) tidy() {
	left := t.dirty[:0]
	for _, i := range t.dirty {
		e := &t.entries[i]
		switch {
		case !e.placed():
			left = append(left, i)
			continue
		case !e.wanted && !e.present:
			delete(t.index, e.key)
			t.free = append(t.free, i)
			*e = entry[K, V]{}
			continue
		}
		e.queued = false
	}
	t.dirty = left
}

// setStuck marks entry i, which then is not in place whatever it holds.
func (t *table[K, V]) setStuck(i int32) {
	t.entries[i].stuck = true
	t.check(i)
}

// keepIf keeps, of the entries that are to go, those that it accepts.
func (t *table[K, V]) keepIf(accept func(*entry[K, V]) bool) {
	for _, i := range t.dirty {
		if e := &t.entries[i]; !e.wanted && e.present && !e.kept {
			t.setKept(e, accept(e))
		}
	}
}

// setKept keeps count, as the number is asked for in every round.
func (t *table[K, V]) setKept(e *entry[K, V], on bool) {
	switch {
	case on && !e.kept:
		t.kept++
	case !on && e.kept:
		t.kept--
	}
	e.kept = on
}

// release lets go of what was kept, of the keys that pick accepts; nil: all.
func (t *table[K, V]) release(pick func(K) bool) {
	for i := range t.entries {
		if e := &t.entries[i]; e.kept && (pick == nil || pick(e.key)) {
			t.setKept(e, false)
			e.asked = true // that it goes is nobody's drift
			t.check(int32(i))
		}
	}
}

package probe

import "time"

// queue orders what is to be asked: first what somebody waits for, then the
// rest, each by its time. It writes down in each path where it stands, so that
// it can be taken out. What is first never starves the rest, as it comes of the
// rest: of a packet that was not answered.
type queue struct {
	paths   []path // the table's
	pressed []int32
	rest    []int32
}

const notQueued = -1

// put puts path i in its place, whether it was queued or not.
func (q *queue) put(i int32, at time.Duration, pressing bool) {
	q.drop(i)
	p := &q.paths[i]
	p.due, p.pressing = at, pressing
	h := q.heap(p)
	p.place = int32(len(*h))
	*h = append(*h, i)
	q.up(*h, int(p.place))
}

// drop takes path i out, if it is queued.
func (q *queue) drop(i int32) {
	p := &q.paths[i]
	if p.place == notQueued {
		return
	}
	h := q.heap(p)
	at, last := int(p.place), len(*h)-1
	q.swap(*h, at, last)
	*h = (*h)[:last]
	if at < last {
		q.down(*h, at)
		q.up(*h, at)
	}
	p.place = notQueued
}

// first is the path to ask at time now, or -1 and the time when there is one; a
// negative time: never.
func (q *queue) first(now time.Duration) (int32, time.Duration) {
	next := time.Duration(-1)
	for _, h := range [][]int32{q.pressed, q.rest} {
		if len(h) == 0 {
			continue
		}
		due := q.paths[h[0]].due
		if due <= now {
			return h[0], due
		}
		if next < 0 || due < next {
			next = due
		}
	}
	return -1, next
}

func (q *queue) heap(p *path) *[]int32 {
	if p.pressing {
		return &q.pressed
	}
	return &q.rest
}

func (q *queue) less(h []int32, a, b int) bool { return q.paths[h[a]].due < q.paths[h[b]].due }

func (q *queue) swap(h []int32, a, b int) {
	h[a], h[b] = h[b], h[a]
	q.paths[h[a]].place, q.paths[h[b]].place = int32(a), int32(b)
}

func (q *queue) up(h []int32, i int) {
	for i > 0 && q.less(h, i, (i-1)/2) {
		q.swap(h, i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (q *queue) down(h []int32, i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h); c++ {
			if q.less(h, c, least) {
				least = c
			}
		}
		if least == i {
			return
		}
		q.swap(h, i, least)
		i = least
	}
}

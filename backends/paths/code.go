package paths

import "github.com/weft-net/weft/fabric"

// code is a path in two bytes: its kind in the lower two bits, the generation in
// the others, which are enough for sixteen thousand migrations.
type code uint16

// kinds by the lower two bits of a code.
var kinds = [...]fabric.PathKind{"", fabric.PathDirect, fabric.PathBGP, fabric.PathVXLAN}

// encode gives 0 for a kind that is not known here.
func encode(p fabric.Path) code {
	for i, k := range kinds {
		if k == p.Kind && i > 0 {
			return code(p.Generation<<2 | i)
		}
	}
	return 0
}

func (c code) path() fabric.Path {
	return fabric.Path{Kind: kinds[c&3], Generation: int(c >> 2)}
}

// bit tells the ways apart that there can be at one time: of the overlays, one
// of even and one of odd generation.
func (c code) bit() uint8 {
	if kinds[c&3] == fabric.PathVXLAN {
		return 1 << (c & 3) << (c >> 2 & 1)
	}
	return 1 << (c & 3)
}

// alarm is when a key must be looked at again. It counts only while it is its
// entry's.
type alarm struct {
	at  moment
	key Key
}

// alarms are a heap, the earliest first. (container/heap would allocate.)
type alarms []alarm

func (h *alarms) push(a alarm) {
	s := append(*h, a)
	i := len(s) - 1
	for i > 0 && s[(i-1)/2].at > a.at {
		s[i] = s[(i-1)/2]
		i = (i - 1) / 2
	}
	s[i] = a
	*h = s
}

func (h *alarms) pop() {
	s := *h
	n := len(s) - 1
	a := s[n]
	s[n] = alarm{}
	s = s[:n]
	i := 0
	for 2*i+1 < n {
		child := 2*i + 1
		if child+1 < n && s[child+1].at < s[child].at {
			child++
		}
		if s[child].at >= a.at {
			break
		}
		s[i] = s[child]
		i = child
	}
	if n > 0 {
		s[i] = a
	}
	*h = s
}

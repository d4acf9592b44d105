package record

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/rawjson"
)

// appendTo appends what encoding/json makes of the record.
func (r *Record) appendTo(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"version":`...), int64(r.Version), 10)
	for _, m := range []struct{ name, value string }{
		{"network", r.Network}, {"container", r.Container}, {"interface", r.Interface}, {"hostInterface", r.HostInterface}, {"bridge", r.Bridge},
	} {
		b = rawjson.String(rawjson.Key(b, m.name), m.value)
	}
	b = rawjson.Text(b, "netns", r.NetnsPath)
	if r.NetnsInode != 0 {
		b = strconv.AppendUint(rawjson.Key(b, "netnsInode"), r.NetnsInode, 10)
	}
	b = append(rawjson.Key(b, "addresses"), '[')
	for _, a := range r.Addrs {
		b = rawjson.String(rawjson.Next(b), a.String())
	}
	mac := ""
	if r.MAC != (fabric.MAC{}) {
		mac = r.MAC.String()
	}
	b = rawjson.String(rawjson.Key(append(b, ']'), "mac"), mac)
	b = strconv.AppendInt(rawjson.Key(b, "mtu"), int64(r.MTU), 10)
	b = rawjson.True(rawjson.True(rawjson.True(b, "guarded", r.Guarded), "isolated", r.Isolated), "hairpin", r.Hairpin)
	b = r.appendPod(b)
	b = r.appendLabels(b)
	if len(r.Aliases) > 0 {
		b = append(rawjson.Key(b, "aliases"), '[')
		for _, a := range r.Aliases {
			b = rawjson.String(rawjson.Next(b), a)
		}
		b = append(b, ']')
	}
	b = rawjson.Text(b, "trace", r.Trace)
	return append(rawjson.String(rawjson.Key(b, "created"), r.Created.Format(time.RFC3339Nano)), '}')
}

func (r *Record) appendPod(b []byte) []byte {
	if r.Pod == (Pod{}) {
		return b
	}
	b = rawjson.Text(append(rawjson.Key(b, "pod"), '{'), "namespace", r.Pod.Namespace)
	return append(rawjson.Text(rawjson.Text(b, "name", r.Pod.Name), "uid", r.Pod.UID), '}')
}

func (r *Record) appendLabels(b []byte) []byte {
	if len(r.Labels) == 0 {
		return b
	}
	b = append(rawjson.Key(b, "labels"), '{')
	for _, k := range slices.Sorted(maps.Keys(r.Labels)) {
		b = rawjson.String(append(rawjson.String(rawjson.Next(b), k), ':'), r.Labels[k])
	}
	return append(b, '}')
}

package routing

import (
	"slices"
	"time"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

// files are what is polled, and what the last poll found.
type files struct {
	own     ownFile
	secrets secrets
	polled  time.Time

	objects     *fabric.BGP // of the node's own file
	problems    []fabric.Problem
	credentials map[string]bgp.Credential
	paths       map[string]bool // that credentials are for
	verdicts    map[string]bool // of the probes, as kept on disk
}

// facts gathers what is known now, and goes on with what takes time: probes, a
// drain, a shutdown. The problems are those of the node's own file.
func (t *Task) facts(in Inputs, now time.Time) (bgp.Facts, []fabric.Problem) {
	facts, problems := t.known(in, now)
	mine := selected(facts.BGP, t.opt.Self.Labels)
	t.checks.Follow(mine)
	facts.Healthy = t.verdicts()
	record := drainRecord(in.Snapshot.Drained, t.opt.Self.Name)
	facts.Leaving = t.drain.follow(record, extra(mine), in.Own, now).announces()
	facts.Stopping = t.stop.advance(now).announces()
	return facts, problems
}

// known are the facts that are there to be read.
func (t *Task) known(in Inputs, now time.Time) (bgp.Facts, []fabric.Problem) {
	f := &t.files
	due := f.polled.IsZero() || now.Sub(f.polled) >= pollEvery
	if due {
		f.polled = now
		f.objects, f.problems = f.own.poll(now)
	}
	objects := bgp.Merge(in.Snapshot.BGP, f.objects)
	if paths := secretPaths(objects); due || !sameKeys(paths, f.paths) {
		f.credentials, f.paths = f.secrets.poll(paths, now), paths
	}
	self, underlay, links := t.opt.Self, in.Underlay, t.links()
	t.addrs = keepAddrs(t.addrs, underlay.Addrs, links)
	underlay.Addrs = t.addrs
	self.Index, self.Underlay = in.Index, t.addrs
	return bgp.Facts{
		Spec: in.Snapshot.Spec, BGP: objects, Self: self, Peers: in.Snapshot.Peers, Subnets: in.Own, Underlay: underlay,
		Gateways: t.gateways.follow(underlay.Gateways, links, now), Secrets: f.credentials,
	}, slices.Clone(f.problems)
}

// announces is what the stage means for announcements.
func (s stage) announces() bgp.Leaving {
	switch s {
	case staying:
		return bgp.Stay
	case leaving:
		return bgp.Yielding
	}
	return bgp.Withdrawn
}

// secretPaths are the MD5 files that any session names.
func secretPaths(b *fabric.BGP) map[string]bool {
	out := map[string]bool{}
	if b == nil {
		return out
	}
	for _, p := range b.Peers {
		if p.Spec.Auth.MD5File != "" {
			out[p.Spec.Auth.MD5File] = true
		}
	}
	return out
}

func sameKeys(a, b map[string]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}

// selected are the prefixes that this node is to announce.
func selected(b *fabric.BGP, labels map[string]string) []fabric.BGPPrefix {
	if b == nil {
		return nil
	}
	var out []fabric.BGPPrefix
	for _, p := range b.Prefixes {
		if p.Spec.Nodes.Matches(labels) {
			out = append(out, p)
		}
	}
	return out
}

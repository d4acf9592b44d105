package lab

import (
	"context"
	"errors"
	"fmt"

	"github.com/weft-net/weft/fabric"
)

// Traffic is what a change of paths is measured by: numbered packets from every
// pod to every other, and a TCP stream in each family from the first pod, by
// name, to the last.
type Traffic struct {
	mesh    *Mesh
	streams []*Stream
}

// streamRate is what a stream carries, bytes per second: a few hundred segments.
const streamRate = 1 << 20

// TrafficReport is what became of it.
type TrafficReport struct {
	Report
	TCP []TCPReport // by family, IPv4 first
}

// StartTraffic begins to send so many packets per second in all, the answers
// not counted. Stop it.
func (l *Lab) StartTraffic(ctx context.Context, perSecond float64) (*Traffic, error) {
	pods := l.Pods()
	if len(pods) < 2 {
		return nil, errors.New("traffic: there are no two pods")
	}
	flows := len(pods) * (len(pods) - 1) * len(pods[0].Addrs)
	t := &Traffic{}
	from, to := pods[0], pods[len(pods)-1]
	for _, f := range fabric.Families {
		if !from.Addr(f).IsValid() || !to.Addr(f).IsValid() {
			continue
		}
		s, err := StartTCP(ctx, from.Namespace, to.Namespace, to.Addr(f), streamRate)
		if err != nil {
			_, _ = t.stopStreams()
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		t.streams = append(t.streams, s)
	}
	var err error
	if t.mesh, err = StartMesh(ctx, l.PodEndpoints(), ProbeOptions{Rate: perSecond / float64(flows)}); err != nil {
		_, _ = t.stopStreams()
		return nil, err
	}
	return t, nil
}

// Stop ends the traffic, waits for what is on its way and reports.
func (t *Traffic) Stop(ctx context.Context) (TrafficReport, error) {
	udp, err := t.mesh.Stop(ctx)
	tcp, errTCP := t.stopStreams()
	return TrafficReport{Report: udp, TCP: tcp}, errors.Join(err, errTCP)
}

func (t *Traffic) stopStreams() (out []TCPReport, err error) {
	for _, s := range t.streams {
		r, e := s.Stop()
		out = append(out, r)
		err = errors.Join(err, e)
	}
	return out, err
}

// Retransmits are the segments of all streams that were sent again, and of them
// those that had arrived the first time.
func (r TrafficReport) Retransmits() (all, spurious int) {
	for _, s := range r.TCP {
		all += int(s.Retransmits)
		spurious += int(s.Spurious)
	}
	return all, spurious
}

// Faults lists what went wrong, a line each: packets lost or out of order, bytes
// or segments of a stream that were lost.
func (r TrafficReport) Faults() []string {
	out := r.Losses()
	if n := r.Total().Reordered; n > 0 {
		out = append(out, fmt.Sprintf("%d packets came out of order", n))
	}
	for i, s := range r.TCP {
		if s.Received != s.Sent {
			out = append(out, fmt.Sprintf("TCP stream %d: %d of %d bytes arrived", i+1, s.Received, s.Sent))
		}
		if s.Retransmits > s.Spurious {
			out = append(out, fmt.Sprintf("TCP stream %d: %d segments were lost and sent again", i+1, s.Retransmits-s.Spurious))
		}
	}
	return out
}

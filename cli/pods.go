package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/ipam"
)

// podRow is an interface of a pod as `weft pods -o json` shows it. What only
// records tell is empty where there is none.
type podRow struct {
	Namespace     string            `json:"namespace,omitempty"`
	Pod           string            `json:"pod,omitempty"`
	UID           string            `json:"uid,omitempty"`
	Container     string            `json:"container"`
	Interface     string            `json:"interface"`
	Addresses     []netip.Addr      `json:"addresses"`
	Since         time.Time         `json:"since,omitzero"`
	Labels        map[string]string `json:"labels,omitempty"`
	Network       string            `json:"network,omitempty"`
	HostInterface string            `json:"hostInterface"`
	MAC           *fabric.MAC       `json:"mac,omitempty"`
	MTU           int               `json:"mtu,omitempty"` // bytes
	Netns         string            `json:"netns,omitempty"`
	Guarded       bool              `json:"guarded,omitempty"`
	Isolated      bool              `json:"isolated,omitempty"`
	Hairpin       bool              `json:"hairpin,omitempty"`
	Aliases       []string          `json:"aliases,omitempty"`
	// Unrecorded says that there is no record that can be read: what is known is
	// from the slot files alone.
	Unrecorded bool `json:"unrecorded,omitempty"`
}

// name is NAMESPACE/NAME, or the name alone, or empty.
func (r *podRow) name() string { return record.Pod{Namespace: r.Namespace, Name: r.Pod}.String() }

// attachments are what this host's files say of its pods.
type attachments struct {
	slots   []ipam.Slot // of all addresses that are or were in use
	records map[ipam.Attachment]*record.Record
	broken  []error // records that cannot be read
}

// errOnlyRead keeps the command line from making a damaged file anew: it may be
// called where the kernel does not show what the host's does.
var errOnlyRead = errors.New("it cannot be read; weftd or the next pod makes it anew from what the kernel shows")

// readSlots opens the slot files of this host for reading.
func readSlots(runDir string) (*ipam.Slots, error) {
	return ipam.NewSlots(runDir, ipam.Options{InUse: func() ([]ipam.Use, error) { return nil, errOnlyRead }})
}

// readAttachments reads the files below the run directory. Neither the agent nor
// etcd is asked. If the slot files cannot be read the records are there all the
// same.
func readAttachments(ctx context.Context, runDir string) (a attachments, err error) {
	records, broken := record.List(runDir)
	a.records = make(map[ipam.Attachment]*record.Record, len(records))
	for _, r := range records {
		a.records[r.Attachment()] = r
	}
	if joined, ok := broken.(interface{ Unwrap() []error }); ok {
		a.broken = joined.Unwrap()
	} else if broken != nil {
		a.broken = []error{broken}
	}
	slots, err := readSlots(runDir)
	if err == nil {
		a.slots, err = slots.List(ctx)
	}
	return a, noFiles(err, runDir)
}

// noFiles gives an error of the plugin's files the hint that most need.
func noFiles(err error, runDir string) error {
	if errors.Is(err, fs.ErrPermission) {
		return &failure{code: exitFailed, err: err, hint: "the files in " + runDir + " are for root alone"}
	}
	return err
}

// rows lists the interfaces that have addresses; where that is not known (the
// slot files cannot be read), those that have a record.
func (a *attachments) rows(now time.Time, slotsKnown bool) []podRow {
	by := map[ipam.Attachment]*podRow{}
	for _, s := range a.slots {
		if !s.InUse {
			continue
		}
		r := by[s.Attachment]
		if r == nil {
			r = a.row(s.Attachment, s.Pod)
			by[s.Attachment] = r
		}
		r.Addresses = append(r.Addresses, s.Addr)
		r.Since = now.Add(-s.Age)
	}
	if !slotsKnown {
		for at, rec := range a.records {
			if by[at] == nil {
				r := a.row(at, "")
				for _, p := range rec.Addrs {
					r.Addresses = append(r.Addresses, p.Addr())
				}
				r.Since = rec.Created
				by[at] = r
			}
		}
	}
	rows := make([]podRow, 0, len(by))
	for _, r := range by {
		slices.SortFunc(r.Addresses, netip.Addr.Compare)
		rows = append(rows, *r)
	}
	slices.SortFunc(rows, func(x, y podRow) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Pod, y.Pod), cmp.Compare(x.Container, y.Container), cmp.Compare(x.Interface, y.Interface))
	})
	return rows
}

// row describes an attachment by its record or, if there is none, by the pod's
// name in its slot.
func (a *attachments) row(at ipam.Attachment, pod string) *podRow {
	r := &podRow{Container: at.Container, Interface: at.Interface, HostInterface: at.HostInterface(), Addresses: []netip.Addr{}}
	rec := a.records[at]
	if rec == nil {
		r.Unrecorded = true
		namespace, name, ok := strings.Cut(pod, "/")
		if !ok {
			namespace, name = "", pod
		}
		r.Namespace, r.Pod = namespace, name
		return r
	}
	r.Namespace, r.Pod, r.UID = rec.Pod.Namespace, rec.Pod.Name, rec.Pod.UID
	r.Labels, r.Network, r.Netns, r.Aliases = rec.Labels, rec.Network, rec.NetnsPath, rec.Aliases
	r.MAC, r.MTU, r.Guarded, r.Isolated, r.Hairpin = &rec.MAC, rec.MTU, rec.Guarded, rec.Isolated, rec.Hairpin
	return r
}

// shortID is as much of a container's id as runtimes show.
func shortID(id string) string { return id[:min(len(id), 12)] }

func podsTable(rows []podRow, now time.Time, wide bool) *table {
	head := []string{"POD…", "CONTAINER", "IF", "ADDRESSES", "AGE"}
	labelled := wide || slices.ContainsFunc(rows, func(r podRow) bool { return len(r.Labels) > 0 })
	if labelled {
		head = append(head, "LABELS…")
	}
	if wide {
		head = append(head, "NETWORK", "MAC", "HOST-IF", "GUARDED", "NETNS")
	}
	t := newTable(wide, head...)
	for _, r := range rows {
		id, addresses := r.Container, list(r.Addresses)
		if !wide {
			id = shortID(id)
			if n := len(r.Addresses); n > 1 { // the pod's name needs the room
				addresses = fmt.Sprintf("%s +%d", r.Addresses[0], n-1)
			}
		}
		cells := []string{orDash(r.name()), id, r.Interface, addresses, span(now.Sub(r.Since))}
		if labelled {
			cells = append(cells, labels(r.Labels))
		}
		if wide {
			mac := "-"
			if r.MAC != nil {
				mac = r.MAC.String()
			}
			cells = append(cells, orDash(r.Network), mac, r.HostInterface, yesNo(r.Guarded), orDash(r.Netns))
		}
		t.add(cells...)
	}
	return t
}

func labels(l map[string]string) string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(l)) {
		pairs = append(pairs, k+"="+l[k])
	}
	return orDash(strings.Join(pairs, ","))
}

const podsHelp = `List the pods' interfaces on this host, by the files that the CNI plugin writes:
neither the agent nor etcd is asked.

A selector is a list of conditions, all of which must hold: KEY=VALUE, KEY!=VALUE
(also where there is no such label), KEY (there is such a label), !KEY.`

func (a *app) podsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "pods", Short: "List the pods on this host", Args: args(), Long: podsHelp,
		Example: "  weft pods -n kube-system\n  weft pods -l app=web,tier!=test -o json",
	}
	f := formFlag(cmd)
	namespace := cmd.Flags().StringP("namespace", "n", "", "only pods of this namespace")
	selector := cmd.Flags().StringP("selector", "l", "", "only pods with these labels, like app=web,tier!=test")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		want, err := parseLabelSelector(*selector)
		if err != nil {
			return usagef("--selector: %w", err)
		}
		n, err := a.config()
		if err != nil {
			return err
		}
		found, err := readAttachments(cmd.Context(), n.RunDir)
		rows := found.rows(a.Now(), err == nil)
		attached := len(rows)
		rows = slices.DeleteFunc(rows, func(r podRow) bool {
			return *namespace != "" && r.Namespace != *namespace || !want.matches(&r)
		})
		if err := a.print(*f, rows, func(wide bool) *table { return podsTable(rows, a.Now(), wide) }); err != nil {
			return err
		}
		for _, b := range found.broken {
			fmt.Fprintf(a.Err, "note: %s\n", oneLine(b))
		}
		switch {
		case err != nil || len(rows) > 0:
		case attached > 0:
			fmt.Fprintf(a.Err, "note: none of the %s on this host is like that\n", count(attached, "pod interface", "pod interfaces"))
		default:
			fmt.Fprintf(a.Err, "note: no pod on this host has an address (by the files in %s)\n", n.RunDir)
		}
		return err
	}
	return cmd
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

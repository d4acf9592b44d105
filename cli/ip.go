package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/store"
)

// What an address is.
const (
	addressInUse       = "in-use"
	addressQuarantined = "quarantined" // freed, and kept from reuse for a while
	addressFreed       = "freed"
	addressUnused      = "unused" // of this node's subnets, and no pod's since the host booted
	addressGateway     = "gateway"
	addressReserved    = "reserved" // the subnet's own or its broadcast address
	addressRemote      = "remote"   // in the subnet of another node
	addressSetAside    = "set-aside"
	addressExcluded    = "excluded" // in a prefix that is never leased
	addressUnleased    = "unleased"
	addressUnderlay    = "underlay"
	addressOutside     = "outside"
	addressUnknown     = "unknown" // only etcd could tell
)

// addressRow is what is known of an address, as `weft ip show -o json` shows it.
type addressRow struct {
	Address netip.Addr   `json:"address"`
	State   string       `json:"state"`
	Since   time.Time    `json:"since,omitzero"` // of the state, where it began
	Subnet  netip.Prefix `json:"subnet,omitzero"`
	// Node has the subnet, or the underlay address; or it is for it (set-aside).
	Node       string `json:"node,omitempty"`
	AgentAlive *bool  `json:"agentAlive,omitempty"`
	Here       bool   `json:"here,omitempty"`     // Node is this host's
	Draining   bool   `json:"draining,omitempty"` // no address of it is given to new pods
	// GivenUp says that the subnet was this node's and is not any more.
	GivenUp    bool           `json:"givenUp,omitempty"`
	Attachment *podRow        `json:"attachment,omitempty"` // whose it is or was
	Networks   []netip.Prefix `json:"networks,omitempty"`   // of the fabric, where the address is outside
}

// local answers from this host's files; it is true if nothing else need be asked.
func (r *addressRow) local(ctx context.Context, runDir string, now time.Time) (bool, error) {
	file, err := nodefile.Read(runDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if file == nil {
		file = &nodefile.File{} // weftd has not run here yet, or not for long
	}
	r.Networks = file.Networks
	if i := slices.IndexFunc(file.Subnets, func(p netip.Prefix) bool { return p.Contains(r.Address) }); i >= 0 {
		r.Subnet, r.Node, r.Here = file.Subnets[i], file.Node, true
		r.Draining = slices.Contains(file.Draining, r.Subnet)
		if r.State = special(r.Subnet, r.Address); r.State != "" {
			return true, nil
		}
		r.State = addressUnused
	}
	slots, err := readSlots(runDir)
	if err != nil {
		return false, err
	}
	slot, found, err := slots.Who(ctx, r.Address)
	if err != nil {
		return false, noFiles(err, runDir)
	}
	if found {
		r.fromSlot(runDir, slot, now)
		if !r.Here { // its pod outlived the lease
			r.Subnet, r.GivenUp = slot.Subnet, true
		}
	}
	return r.Here, nil
}

// special is what the addresses are that no pod gets; empty for all others.
func special(subnet netip.Prefix, a netip.Addr) string {
	switch {
	case a == subnet.Addr(), a.Is4() && !subnet.Contains(a.Next()):
		return addressReserved
	case a == nodefile.Gateway(subnet):
		return addressGateway
	}
	return ""
}

// fromSlot says whose the address is or was.
func (r *addressRow) fromSlot(runDir string, s ipam.Slot, now time.Time) {
	found := attachments{}
	if rec, err := record.Read(runDir, s.Attachment); err == nil && s.InUse {
		found.records = map[ipam.Attachment]*record.Record{s.Attachment: rec}
	}
	r.Attachment = found.row(s.Attachment, s.Pod)
	r.Attachment.Addresses = append(r.Attachment.Addresses, s.Addr)
	r.Since = now.Add(-s.Age)
	switch {
	case s.InUse:
		r.State = addressInUse
	case s.Age < ipam.Quarantine:
		r.State = addressQuarantined
	default:
		r.State = addressFreed
	}
}

// fabric answers from the fabric's records what this host's files do not. What a
// pod here has or had stays the answer, also if its subnet is another's by now.
func (r *addressRow) fabric(snap *fabric.Snapshot) {
	state := r.placed(snap)
	if r.Attachment == nil {
		r.State = state
	}
	if state != addressOutside {
		r.Networks = nil
	}
}

func (r *addressRow) placed(snap *fabric.Snapshot) (state string) {
	for _, p := range snap.Peers {
		for _, s := range p.Subnets {
			if s.Prefix.Contains(r.Address) {
				r.Subnet, r.Node, r.AgentAlive = s.Prefix, p.Name, &p.Alive
				if state = special(s.Prefix, r.Address); state == "" {
					state = addressRemote
				}
				return state
			}
		}
		for _, f := range fabric.Families {
			if p.Underlay.Get(f) == r.Address {
				r.Node, r.AgentAlive = p.Name, &p.Alive
				return addressUnderlay
			}
		}
	}
	for _, s := range snap.Reservations {
		if s.Prefix.Contains(r.Address) {
			r.Subnet, r.Node = s.Prefix, s.For
			return addressSetAside
		}
	}
	contains := func(p netip.Prefix) bool { return p.Contains(r.Address) }
	if i := slices.IndexFunc(snap.Spec.Reserved, contains); i >= 0 {
		r.Subnet = snap.Spec.Reserved[i]
		return addressExcluded
	}
	r.Networks = snap.Spec.Networks()
	if slices.ContainsFunc(r.Networks, contains) {
		return addressUnleased
	}
	return addressOutside
}

const ipHelp = `Say what an address of the fabric is: which pod on this host has or had it, and
since when, or which node has its subnet. Addresses of this node's subnets are
looked up in the files that the CNI plugin writes; for others etcd is asked.`

func (a *app) ipCommand() *cobra.Command {
	cmd := group("ip", "Commands about one address", "")
	show := &cobra.Command{
		Use: "show ADDRESS", Short: "Say whose an address is and was", Args: args("ADDRESS"), Long: ipHelp,
		Example: "  weft ip show 10.244.1.7",
	}
	f := formFlag(show)
	show.RunE = func(cmd *cobra.Command, given []string) error {
		addr, err := netip.ParseAddr(given[0])
		if err != nil || addr.Zone() != "" {
			return usagef("%q is not an address (like 10.244.7.9)", given[0])
		}
		row, asking, err := a.lookUp(cmd.Context(), addr.Unmap())
		if err != nil {
			return err
		}
		if *f != formTable && *f != formWide {
			err = a.print(*f, row, nil)
		} else {
			a.printf("%s", addressText(row, a.Now(), *f == formWide))
		}
		if row.State != addressUnknown && asking != nil {
			fmt.Fprintf(a.Err, "note: the fabric could not be asked: %s\n", oneLine(asking))
			asking = nil
		}
		return errors.Join(err, asking)
	}
	cmd.AddCommand(show)
	return cmd
}

// lookUp finds out what an address is; asking is why etcd did not help.
func (a *app) lookUp(ctx context.Context, addr netip.Addr) (row *addressRow, asking, err error) {
	n, err := a.config()
	if err != nil {
		return nil, nil, err
	}
	row = &addressRow{Address: addr, State: addressUnknown}
	settled, err := row.local(ctx, n.RunDir, a.Now())
	switch {
	case err != nil && row.Here:
		return nil, nil, err
	case err != nil: // it may be another node's
		fmt.Fprintf(a.Err, "note: %s\n", oneLine(err))
	case settled:
		row.Networks = nil
		return row, nil, nil
	}
	asking = a.withStore(ctx, func(ctx context.Context, s *store.Store) error {
		snap, err := s.View(ctx)
		if err != nil {
			return unreachable(err)
		}
		if snap.Spec == nil {
			return &failure{code: exitFailed, err: errors.New("there is no Fabric yet"), hint: "weft apply -f FILE makes one"}
		}
		row.fabric(snap)
		return nil
	})
	outside := len(row.Networks) > 0 && !slices.ContainsFunc(row.Networks, func(p netip.Prefix) bool { return p.Contains(addr) })
	if asking != nil && row.State == addressUnknown && outside { // by the node file
		row.State = addressOutside
	}
	if row.State != addressOutside {
		row.Networks = nil
	}
	return row, asking, nil
}

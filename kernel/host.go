package kernel

// Options configure a Host. The zero value is ready to use.
type Options struct {
	// Buffer is the size in bytes of the receive buffer for notifications
	// (default 8 MiB). When it overruns, the next Sync dumps everything.
	Buffer int
}

// Host is the network state of one network namespace: what is wanted of it and
// what it is. Its methods except Changed are for one goroutine.
type Host struct {
	changed chan struct{}
}

// Report says what one Sync found and did.
type Report struct {
	Dumped   bool           // the tables were read anew
	Writes   int            // changes asked of the kernel; 0 where all was in place
	Repaired map[string]int // kind of object -> put right though nobody asked for a change
	// Failed and Conflicts are sorted by object. What is in them stays as it
	// is and is tried again by the next Sync.
	Failed    []Failure
	Conflicts []Conflict
	InSync    bool // the kernel holds what is wanted and nothing of ours beyond it
}

// Failure is an object that the kernel does not hold as wanted.
type Failure struct {
	Kind   string // as in Report.Repaired
	Object string // in words, like `route 10.1.0.0/24 metric 158`
	Err    error
}

// Conflict is a wanted object in whose place there is somebody else's.
type Conflict struct {
	Object string // the wanted one
	Holder string // what stands there
}

// Open opens the host's sockets in the calling thread's network namespace.
// Sync must be called in the same one.
func Open(Options) (*Host, error) { return &Host{changed: make(chan struct{}, 1)}, nil }

// SetWant replaces the whole wanted state.
func (h *Host) SetWant(w Objects) {}

// Update changes the wanted state: the objects in remove go unless they are
// in add too or are wanted with another value by now; those in add come.
func (h *Host) Update(remove, add Objects) {}

// Audit makes the next Sync read everything from the kernel.
func (h *Host) Audit() {}

// Changed receives a value when the kernel notified something that may concern
// the host: call Sync.
func (h *Host) Changed() <-chan struct{} { return h.changed }

// Sync makes the kernel hold what is wanted. The error says that the kernel
// could not be asked at all; what it refused is in the report.
func (h *Host) Sync() (Report, error) { return Report{}, nil }

// Close releases the sockets. The kernel's state stays as it is.
func (h *Host) Close() error { return nil }

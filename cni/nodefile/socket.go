package nodefile

// Socket is where the agent listens, beside its file: that somebody does says
// that the file will follow what happens. It is agent/api's.
const Socket = "weftd.sock"

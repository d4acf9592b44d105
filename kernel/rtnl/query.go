package rtnl

// perQuery bounds the requests in one sendmsg whose answers wait in the receive
// buffer until it returns.
const perQuery = 16

// Query sends all messages, each a request that is answered with one message,
// and calls fn with the number of the request and its answer. Errors are those
// of Execute. A request has an answer or an error.
func (c *Conn) Query(b *Batch, fn func(i int, m Message)) ([]error, error) {
	return c.sendAll(b, perQuery, fn)
}

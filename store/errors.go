package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Errors that callers test for.
var (
	ErrNotFound = errors.New("not found")
	ErrChanged  = errors.New("changed by somebody else meanwhile; look at it again and retry")
	ErrAlive    = errors.New("its agent is alive")
)

// errStaleLogin: etcd does not know the token of this connection any more.
var errStaleLogin = status.Error(codes.Unauthenticated, "the login has expired")

// needsNewClient reports whether the credentials may have changed on disk.
func needsNewClient(err error) bool {
	switch {
	case is(err, errStaleLogin), is(err, rpctypes.ErrAuthFailed), is(err, rpctypes.ErrInvalidAuthToken), is(err, rpctypes.ErrUserEmpty),
		is(err, rpctypes.ErrAuthNotEnabled), is(err, rpctypes.ErrUserNotFound):
		return true
	}
	text := err.Error()
	return strings.Contains(text, "x509: ") || strings.Contains(text, "tls: ")
}

// is compares an error of etcd, which may or may not have been converted from
// its gRPC form yet.
func is(err, target error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, target) {
		return true
	}
	var want rpctypes.EtcdError
	if !errors.As(target, &want) {
		return false
	}
	st, ok := status.FromError(err)
	return ok && (st.Message() == want.Error() || errors.Is(rpctypes.Error(err), target))
}

// explain says in one line, without a secret, what went wrong and what to
// look at. It keeps the error itself for errors.Is.
func (s *Store) explain(op string, err error) error {
	where := strings.Join(s.cfg.Endpoints, ", ")
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrChanged):
		return err
	case errors.Is(err, context.Canceled) && s.base.Err() != nil:
		return err
	case is(err, rpctypes.ErrAuthFailed), is(err, rpctypes.ErrUserNotFound):
		return fmt.Errorf("etcd refuses the password of user %q (see passwordFile)", s.cfg.Username)
	case is(err, rpctypes.ErrUserEmpty):
		return fmt.Errorf("etcd asks for a user name and password (or a client certificate with one)")
	case is(err, rpctypes.ErrInvalidAuthToken), is(err, errStaleLogin):
		return fmt.Errorf("the login of user %q at etcd has expired", s.cfg.Username)
	case is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("etcd denies user %q the %s under %s (grant its role readwrite on this prefix)", s.cfg.Username, op, s.prefix)
	case is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("etcd is out of space and read-only: compact, defragment, then `etcdctl alarm disarm`")
	case is(err, rpctypes.ErrNoLeader):
		return fmt.Errorf("etcd at %s has no leader", where)
	case errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.DeadlineExceeded:
		return fmt.Errorf("etcd at %s does not answer (%s)", where, op)
	case status.Code(err) == codes.Unavailable:
		return fmt.Errorf("etcd at %s cannot be reached: %s", where, reason(err))
	}
	return fmt.Errorf("etcd %s: %w", op, err)
}

// reason takes gRPC's wrapping off: what is left is the system's word.
func reason(err error) string {
	text := err.Error()
	if st, ok := status.FromError(err); ok {
		text = st.Message()
	}
	for _, wrap := range []string{"transport: Error while dialing: ", "connection error: desc = ", "transport: "} {
		if _, after, ok := strings.Cut(text, wrap); ok {
			text = after
		}
	}
	return printable(strings.Trim(text, `"`))
}

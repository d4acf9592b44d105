package agent

import "testing"

// The speaker's sentences, and the kinds that they are counted under.
func TestErrorKind(t *testing.T) {
	for text, want := range map[string]string{
		"wrong password: segments with another MD5 signature arrive":                                                   "password",
		"no answer on TCP port 179: it is down, or a filter is in the way, or it wants an MD5 password or GTSM":        "connection",
		"GTSM: packets arrive with a TTL below 255: the far end has no GTSM, or is further away":                       "ttl",
		"wrong AS: the far end is not in AS 65001, as configured here":                                                 "as",
		"the far end closed the session: wrong family or capability: we have none that it wants (2/7)":                 "family",
		"hold timer expired: nothing was heard from the far end":                                                       "hold",
		"the far end closed the session: its hold timer expired":                                                       "hold",
		"the far end closed the session: maximum number of prefixes reached: we announce too many (6/1)":               "prefixes",
		"the far end sent a malformed message: length":                                                                 "malformed",
		"the far end closed the session: administrative shutdown (6/2)":                                                "shutdown",
		"the far end closed the session: out of resources (6/8)":                                                       "notification",
		"connection refused: nothing listens on TCP port 179 of the far end":                                           "connection",
		"the connection was lost without a NOTIFICATION: the far end restarts, crashed, or the path is gone":           "connection",
		"the far end accepts the connection and closes it before its OPEN: it has no session, or its one is shut down": "connection",
		"something that nobody has thought of":                                                                         "other",
	} {
		if got := errorKind(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

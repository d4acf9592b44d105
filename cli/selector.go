package cli

import (
	"fmt"
	"strings"
)

// labelSelector is Kubernetes' selector as far as it compares for equality: all
// of its conditions must hold.
type labelSelector []labelCondition

type labelCondition struct {
	key, value string
	exists     bool // the label alone counts, whatever its value
	not        bool
}

// parseLabelSelector reads KEY=VALUE, KEY==VALUE, KEY!=VALUE, KEY and !KEY, separated
// by commas.
func parseLabelSelector(text string) (labelSelector, error) {
	var out labelSelector
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		var c labelCondition
		switch key, value, equals := strings.Cut(part, "="); {
		case !equals:
			name, not := strings.CutPrefix(part, "!")
			c = labelCondition{key: name, exists: true, not: not}
		default:
			name, not := strings.CutSuffix(key, "!")
			if !not {
				value = strings.TrimPrefix(value, "=")
			}
			c = labelCondition{key: name, value: value, not: not}
		}
		c.key, c.value = strings.TrimSpace(c.key), strings.TrimSpace(c.value)
		if c.key == "" || strings.ContainsAny(c.key, "!=() ") || strings.ContainsAny(c.value, "!=() ") {
			return nil, fmt.Errorf("%q is not a condition (want KEY=VALUE, KEY!=VALUE, KEY or !KEY)", part)
		}
		out = append(out, c)
	}
	return out, nil
}

// matches reports whether all conditions hold. Of a pod whose record is lost the
// labels are not known: none holds then.
func (s labelSelector) matches(r *podRow) bool {
	for _, c := range s {
		value, there := r.Labels[c.key]
		holds := there && (c.exists || value == c.value)
		if holds == c.not || r.Unrecorded {
			return false
		}
	}
	return true
}

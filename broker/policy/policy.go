// Package policy decides by Cedar policies: default deny, and forbid wins.
//
//	engine, err := policy.Load("policy/")
//	…
//	decision, err := engine.Authorize(ctx, request)
//
// A folder holds policies in *.cedar files and, if wanted, entities.json, which
// puts workloads into groups and groups into groups. The types, attributes and
// actions that policies may use are those of schema.cedarschema. What does not
// fit the schema is refused when it is loaded, not skipped when it is needed.
package policy

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cedar-policy/cedar-go"

	"github.com/keyward/keyward/broker"
)

// Engine is a set of policies and entities in force. It never changes, and all
// methods may be called concurrently.
type Engine struct {
	// objects decide on one object or vault, collections on whether any object
	// of a collection could be permitted.
	objects     policySet
	collections policySet
	// entities are the actions with their groups, and those of entities.json.
	entities cedar.EntityMap
	// resources are the types that an action applies to.
	resources map[broker.Action][]cedar.EntityType
	// attributes are those that a workload may have.
	attributes []string
	hash       string
}

var _ broker.Authorizer = (*Engine)(nil)

// namedPolicy is a policy and its id: that of its @id annotation, or its
// position, such as "pay.cedar:3:1".
type namedPolicy struct {
	id     cedar.PolicyID
	policy *cedar.Policy
}

// policySet is evaluated in its order.
type policySet []namedPolicy

// All implements cedar.PolicyIterator.
func (s policySet) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, p := range s {
			if !yield(p.id, p.policy) {
				return
			}
		}
	}
}

// effect returns what the policy of that id does.
func (s policySet) effect(id cedar.PolicyID) cedar.Effect {
	i := slices.IndexFunc(s, func(p namedPolicy) bool { return p.id == id })
	return s[i].policy.Effect()
}

// Hash returns the hash of the names and bytes of all files that were loaded,
// in hexadecimal. It is the PolicySet of every Decision.
func (e *Engine) Hash() string { return e.hash }

// Len returns the number of policies.
func (e *Engine) Len() int { return len(e.objects) }

// Authorize implements broker.Authorizer.
//
// The ids in the Decision are, sorted, those of the policies that permitted, or
// of those that forbade; there are none for a default denial.
//
// Where the resource is a collection, the Decision is a permission if any
// object of it could be permitted to this caller now. What a policy says of an
// object's name is not weighed against the names that there are, so the answer
// may be yes and every object still be denied; where it is no, every object
// would be.
//
// A policy may fail to be evaluated, by an overflow for example. A permit that
// fails permits nothing. A forbid that fails might have forbidden, so the
// request is denied, with an error that names it. A request that fits no
// schema is denied with an error, too.
func (e *Engine) Authorize(_ context.Context, r broker.Request) (broker.Decision, error) {
	d := broker.Decision{PolicySet: e.hash}
	q, err := e.newQuery(r)
	if err != nil {
		return d, err
	}
	policies := e.objects
	if q.collection {
		policies = e.collections
	}
	allowed, diag := cedar.Authorize(policies, q, q.request)

	var failed []error
	for _, f := range diag.Errors {
		if policies.effect(f.PolicyID) == cedar.Forbid {
			failed = append(failed, fmt.Errorf("policy: the forbid %q could not be evaluated, so the request is denied: %s", f.PolicyID, f.Message))
			d.Policies = append(d.Policies, string(f.PolicyID))
		}
	}
	// Beside a forbid that failed, what permitted decided nothing.
	if failed == nil || allowed == cedar.Deny {
		for _, r := range diag.Reasons {
			d.Policies = append(d.Policies, string(r.PolicyID))
		}
	}
	slices.Sort(d.Policies)
	d.Allowed = allowed == cedar.Allow && failed == nil
	return d, errors.Join(failed...)
}

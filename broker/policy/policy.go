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
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/keyward/keyward/broker"
)

// Engine is a set of policies and entities in force. It never changes, and all
// methods may be called concurrently.
type Engine struct {
	// objects decide on one object or vault, collections on whether any object
	// of a collection could be permitted. Those are made when they are first asked.
	objects     index
	collections func() *index
	// entities are the actions with their groups, and those of entities.json;
	// ancestors are what each of them is in.
	entities  cedar.EntityMap
	ancestors map[cedar.EntityUID][]cedar.EntityUID
	// resources are the types that an action applies to.
	resources map[broker.Action][]cedar.EntityType
	// attributes are those that a workload may have.
	attributes []string
	hash       string
	memo       *memo
}

var _ broker.BulkAuthorizer = (*Engine)(nil)

// namedPolicy is a policy and its id: that of its @id annotation, or its
// position, such as "pay.cedar:3:1".
type namedPolicy struct {
	id     cedar.PolicyID
	policy *lazyPolicy
	// breakGlass: it permits only who gives a reason.
	breakGlass bool
	// conditional: it has conditions; choosy: they ask of the resource. looks is what
	// they ask of the call's context.
	conditional bool
	choosy      bool
	looks       Looks
}

// policySet is evaluated in its order.
type policySet []namedPolicy

// Hash returns the hash of the names and bytes of all files that were loaded,
// in hexadecimal. It is the PolicySet of every Decision.
func (e *Engine) Hash() string { return e.hash }

// Len returns the number of policies.
func (e *Engine) Len() int { return len(e.objects.policies) }

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
	alike := e.objects.alike(r.Resource)
	if d, ok := e.memo.decision(r, alike); ok {
		return d, nil
	}
	q, err := e.newScopeQuery(r)
	if err != nil {
		return broker.Decision{PolicySet: e.hash}, err
	}
	x := &e.objects
	if q.collection {
		x = e.collections()
	}
	candidates := selection{x.policies, inOrder(x.find(nil, q.principals, q.resources()))}
	looks := candidates.any(func(p namedPolicy) bool { return p.looks != Looks{} })
	if looks {
		q.request.Context = contextRecord(r)
	}
	d, err := e.decide(q, candidates)
	if err == nil && !looks {
		e.memo.remember(r, d, alike && !candidates.any(func(p namedPolicy) bool { return p.choosy }))
	}
	return d, err
}

// AuthorizeAll implements broker.BulkAuthorizer. What is the same for all names
// is looked up once. It ends with ctx: what is not decided by then is denied.
func (e *Engine) AuthorizeAll(ctx context.Context, r broker.Request, names []broker.Name) ([]broker.Decision, error) {
	decisions := make([]broker.Decision, len(names))
	var errs []error
	var q *query
	var in broker.Name // the collection that q has been of
	var ofVault []int  // candidates that name no object
	var buf []int
	for i, n := range names {
		decisions[i].PolicySet = e.hash
		err := ctx.Err()
		if err != nil {
			return decisions, errors.Join(append(errs, err)...)
		}
		if c := n.Collection(n.Kind()); q == nil || c != in {
			r.Resource, in = n, c
			if q, err = e.newQuery(r); err != nil {
				errs, q = append(errs, err), nil
				continue
			}
			ofVault = e.concerning(q.request.Action, e.objects.find(nil, q.principals, q.resources()[1:]))
		} else if err = q.on(n); err != nil {
			errs, q = append(errs, err), nil
			continue
		}
		buf = e.objects.find(append(buf[:0], ofVault...), q.principals, q.resources()[:1])
		if len(buf) > len(ofVault) {
			buf = inOrder(buf)
		}
		if decisions[i], err = e.decide(q, selection{e.objects.policies, buf}); err != nil {
			errs = append(errs, err)
		}
	}
	return decisions, errors.Join(errs...)
}

// concerning returns those of the policies whose scope takes the action, in
// order.
func (e *Engine) concerning(action cedar.EntityUID, at []int) []int {
	groups := e.ancestors[action]
	in := func(uid cedar.EntityUID) bool { return uid == action || slices.Contains(groups, uid) }
	return slices.DeleteFunc(inOrder(at), func(i int) bool {
		switch s := e.objects.policies[i].policy.ast.Action.(type) {
		case ast.ScopeTypeEq:
			return s.Entity != action
		case ast.ScopeTypeIn:
			return !in(s.Entity)
		case ast.ScopeTypeInSet:
			return !slices.ContainsFunc(s.Entities, in)
		}
		return false
	})
}

// decide evaluates the candidates.
func (e *Engine) decide(q *query, candidates selection) (broker.Decision, error) {
	d := broker.Decision{PolicySet: e.hash}
	q.resource, q.scopes = cedar.Entity{}, !candidates.any(func(p namedPolicy) bool { return p.conditional })
	allowed, diag := cedar.Authorize(candidates, q, q.request)

	var failed []error
	for _, f := range diag.Errors {
		if candidates.of(f.PolicyID).policy.effect() == cedar.Forbid {
			failed = append(failed, fmt.Errorf("policy: the forbid %q could not be evaluated, so the request is denied: %s", f.PolicyID, f.Message))
			d.Policies = append(d.Policies, string(f.PolicyID))
		}
	}
	d.Allowed = allowed == cedar.Allow && failed == nil
	d.BreakGlass = d.Allowed
	// Beside a forbid that failed, what permitted decided nothing.
	if failed == nil || allowed == cedar.Deny {
		for _, r := range diag.Reasons {
			d.Policies = append(d.Policies, string(r.PolicyID))
			d.BreakGlass = d.BreakGlass && candidates.of(r.PolicyID).breakGlass
		}
	}
	slices.Sort(d.Policies)
	return d, errors.Join(failed...)
}

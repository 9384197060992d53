package service

import (
	"context"
	"slices"
	"strings"
	"unicode"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// Bounds of a question: what the largest bearer token could carry is less.
const (
	maxAskedGroups     = 1000
	maxAskedAttributes = 100
)

// accessService is keyward.v1.AccessService: it validates, calls the broker and
// converts.
type accessService struct {
	keywardv1.UnimplementedAccessServiceServer

	broker *broker.Broker
}

func (s *accessService) CheckAccess(ctx context.Context, req *keywardv1.CheckAccessRequest) (*keywardv1.CheckAccessResponse, error) {
	action, resource, err := asked(req.GetAction(), req.GetResource())
	if err != nil {
		return nil, err
	}
	if len(req.GetGroups()) > maxAskedGroups {
		return nil, &broker.Error{Code: broker.CodeBadField, Field: "groups", Message: "a question has at most 1000 groups"}
	}
	if len(req.GetAttributes()) > maxAskedAttributes {
		return nil, &broker.Error{Code: broker.CodeBadField, Field: "attributes", Message: "a question has at most 100 attributes"}
	}
	if p := req.GetPrincipal(); p != "" && !wholeID(p) {
		return nil, &broker.Error{Code: broker.CodeBadField, Field: "principal", Message: "want the whole id: a SPIFFE ID, or an issuer's configured name, \"/\" and the subject"}
	}
	if slices.ContainsFunc(req.GetGroups(), func(g string) bool { return !wholeID(g) }) {
		return nil, &broker.Error{Code: broker.CodeBadField, Field: "groups", Message: "a group is named, such as kubernetes/team-pay"}
	}
	answer, err := s.broker.CheckAccess(ctx, caller(ctx), broker.AccessQuestion{
		Action:   action,
		Resource: resource,
		Principal: broker.Principal{
			ID: req.GetPrincipal(), Groups: req.GetGroups(), Attributes: req.GetAttributes(),
		},
	})
	if err != nil {
		return nil, err
	}
	return &keywardv1.CheckAccessResponse{
		Allowed:    answer.Allowed,
		Policies:   refProtos(answer.Refs),
		BreakGlass: answer.BreakGlass,
	}, nil
}

func (s *accessService) ListGrants(ctx context.Context, req *keywardv1.ListGrantsRequest) (*keywardv1.ListGrantsResponse, error) {
	action, resource, err := asked(req.GetAction(), req.GetResource())
	if err != nil {
		return nil, err
	}
	grants, err := s.broker.ListGrants(ctx, caller(ctx), action, resource)
	if err != nil {
		return nil, err
	}
	reply := &keywardv1.ListGrantsResponse{Grants: make([]*keywardv1.Grant, len(grants))}
	for i, g := range grants {
		reply.Grants[i] = grantProto(g)
	}
	return reply, nil
}

// wholeID reports whether s can be the id of a principal or a group: an answer
// about one that nobody can have would look like one about somebody.
func wholeID(s string) bool {
	before, after, ok := strings.Cut(s, "/")
	return ok && before != "" && after != "" && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

func asked(action, resource string) (broker.Action, broker.Name, error) {
	a, err := broker.ParseAction(action)
	if err != nil {
		return "", broker.Name{}, err
	}
	n, err := a.ParseResource(resource)
	return a, n, err
}

func grantProto(g broker.Grant) *keywardv1.Grant {
	p := &keywardv1.Grant{
		Subject:    subjectProto(g.Subject),
		Via:        g.Via,
		Policies:   refProtos(g.Policies),
		Conditions: g.Conditions,
	}
	for _, e := range g.Except {
		p.Exceptions = append(p.Exceptions, &keywardv1.GrantException{
			Subject: subjectProto(e.Subject), Condition: e.Condition, Policy: refProto(e.Policy),
		})
	}
	return p
}

func subjectProto(s broker.Subject) *keywardv1.Subject {
	return &keywardv1.Subject{Kind: s.Kind, Id: s.ID}
}

func refProto(r broker.PolicyRef) *keywardv1.PolicyRef {
	return &keywardv1.PolicyRef{Id: r.ID, Position: r.Position}
}

func refProtos(refs []broker.PolicyRef) []*keywardv1.PolicyRef {
	out := make([]*keywardv1.PolicyRef, len(refs))
	for i, r := range refs {
		out[i] = refProto(r)
	}
	return out
}

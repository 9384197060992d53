package policy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/keyward/keyward/broker"
)

// Types of the schema.
const (
	typeWorkload    cedar.EntityType = "Workload"
	typeGroup       cedar.EntityType = "Group"
	typeVault       cedar.EntityType = "Vault"
	typeSecret      cedar.EntityType = "Secret"
	typeKey         cedar.EntityType = "Key"
	typeCertificate cedar.EntityType = "Certificate"
	typeAction      cedar.EntityType = "Action"
)

// kindOf says which collection a type's objects are in.
var kindOf = map[cedar.EntityType]broker.Kind{
	typeSecret:      broker.KindSecrets,
	typeKey:         broker.KindKeys,
	typeCertificate: broker.KindCertificates,
}

// typeOf is the inverse of kindOf.
var typeOf = func() map[broker.Kind]cedar.EntityType {
	types := make(map[broker.Kind]cedar.EntityType, len(kindOf))
	for t, kind := range kindOf {
		types[kind] = t
	}
	return types
}()

// query is one request in Cedar's terms. It is the request's view of the
// entities, too: its own over those that the Engine shares. It is of one
// goroutine.
type query struct {
	request    cedar.Request
	collection bool

	principal cedar.Entity
	// principals are the principal and all that it is in, and anything.
	principals []cedar.EntityUID
	// resource is made when it is first looked at: most decisions need its id
	// alone.
	name     broker.Name
	resource cedar.Entity
	vault    cedar.EntityUID
	inVault  *cedar.EntityUIDSet
	shared   cedar.EntityMap
	// scopes: no candidate has a condition, so that nobody looks at the
	// resource's attributes, which cost more than the rest of the decision.
	scopes bool
}

func (e *Engine) newQuery(r broker.Request) (*query, error) {
	q, err := e.newScopeQuery(r)
	if err == nil {
		q.request.Context = contextRecord(r)
	}
	return q, err
}

// newScopeQuery is newQuery without the call's context, for policies that do not look
// at it: to make it costs more than the rest.
func (e *Engine) newScopeQuery(r broker.Request) (*query, error) {
	q := &query{
		shared:     e.entities,
		collection: r.Resource.Kind() != "" && r.Resource.ObjectName() == "",
	}
	if err := q.on(r.Resource); err != nil {
		return nil, err
	}
	if t := q.request.Resource.Type; !slices.Contains(e.resources[r.Action], t) {
		return nil, fmt.Errorf("policy: the schema has no action %q on a %s", r.Action, t)
	}
	switch {
	case r.Principal.ID == "":
		return nil, errors.New("policy: the request has no principal")
	case r.Time.IsZero():
		return nil, errors.New("policy: the request has no time")
	}
	q.principal = e.principalEntity(r.Principal)
	q.principals = []cedar.EntityUID{anything, q.principal.UID}
	for g := range q.principal.Parents.All() {
		q.principals = append(append(q.principals, g), e.ancestors[g]...)
	}
	slices.SortFunc(q.principals, compareUIDs)
	q.principals = slices.Compact(q.principals)
	q.request.Principal = q.principal.UID
	q.request.Action = cedar.NewEntityUID(typeAction, cedar.String(r.Action))
	return q, nil
}

func compareUIDs(a, b cedar.EntityUID) int {
	return cmp.Or(strings.Compare(string(a.Type), string(b.Type)), strings.Compare(string(a.ID), string(b.ID)))
}

// on makes n the resource of the request.
func (q *query) on(n broker.Name) error {
	uid, err := resourceUID(n)
	if err != nil {
		return err
	}
	if n.Vault() != q.name.Vault() {
		q.vault, q.inVault = vaultUID(n), nil
	}
	q.name, q.resource = n, cedar.Entity{}
	q.request.Resource = uid
	return nil
}

// resources are the resource, what it is in, and anything.
func (q *query) resources() []cedar.EntityUID {
	if q.request.Resource == q.vault {
		return []cedar.EntityUID{q.request.Resource, anything}
	}
	return []cedar.EntityUID{q.request.Resource, q.vault, anything}
}

// Get implements cedar.EntityGetter.
func (q *query) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	switch uid {
	case q.principal.UID:
		return q.principal, true
	case q.request.Resource:
		if q.resource.UID == anything {
			q.resource = cedar.Entity{UID: uid}
			if q.name.Kind() != "" {
				if q.inVault == nil {
					in := cedar.NewEntityUIDSet(q.vault)
					q.inVault = &in
				}
				q.resource.Parents = *q.inVault
				if !q.scopes {
					q.resource.Attributes = attributes(q.name)
				}
			}
		}
		return q.resource, true
	}
	if e, ok := q.shared[uid]; ok {
		return e, true
	}
	// An object that a condition names: what is known of it is in its name, so
	// it is the same whichever object the request is on.
	kind, ok := kindOf[uid.Type]
	if !ok {
		return cedar.Entity{}, false
	}
	n, err := broker.ParseName(kind, string(uid.ID))
	if err != nil {
		return cedar.Entity{}, false
	}
	return cedar.Entity{UID: uid, Parents: cedar.NewEntityUIDSet(vaultUID(n)), Attributes: attributes(n)}, true
}

// principalEntity is in the groups that its credentials and entities.json put
// it in.
func (e *Engine) principalEntity(p broker.Principal) cedar.Entity {
	uid := cedar.NewEntityUID(typeWorkload, cedar.String(p.ID))
	is := cedar.Entity{UID: uid, Parents: e.entities[uid].Parents, Attributes: e.principalAttributes(uid, p)}
	if len(p.Groups) > 0 {
		groups := is.Parents.Slice()
		for _, g := range p.Groups {
			groups = append(groups, cedar.NewEntityUID(typeGroup, cedar.String(g)))
		}
		is.Parents = cedar.NewEntityUIDSet(groups...)
	}
	return is
}

// principalAttributes are those of the credentials, over those of
// entities.json. One that the schema does not have is left out: no policy could
// ask for it. So is one that is empty, which says as much as none.
func (e *Engine) principalAttributes(uid cedar.EntityUID, p broker.Principal) cedar.Record {
	given := e.entities[uid].Attributes
	if len(p.Attributes) == 0 {
		return given
	}
	all := maps.Collect(given.All())
	for k, v := range p.Attributes {
		if v != "" && slices.Contains(e.attributes, k) {
			all[cedar.String(k)] = cedar.String(v)
		}
	}
	return cedar.NewRecord(all)
}

// resourceUID returns the id of what stands for n. That of a collection has the
// type of its objects and an id that no object has.
func resourceUID(n broker.Name) (cedar.EntityUID, error) {
	if n.IsZero() {
		return anything, errors.New("policy: the request has no resource")
	}
	if n.Kind() == "" {
		return vaultUID(n), nil
	}
	if t, ok := typeOf[n.Kind()]; ok {
		return cedar.NewEntityUID(t, cedar.String(n.Base().String())), nil
	}
	return anything, fmt.Errorf("policy: the schema has no type for %q", n.Kind())
}

// attributes are those of an object.
func attributes(n broker.Name) cedar.Record {
	return cedar.NewRecord(cedar.RecordMap{
		"name":  cedar.String(n.ObjectName()),
		"vault": cedar.String(n.VaultAlias()),
	})
}

func vaultUID(n broker.Name) cedar.EntityUID {
	return cedar.NewEntityUID(typeVault, cedar.String(n.VaultAlias()))
}

func contextRecord(r broker.Request) cedar.Record {
	c := cedar.RecordMap{
		"time":      cedar.NewDatetime(r.Time),
		"transport": cedar.String(r.Transport),
	}
	if r.Reason != "" {
		c["reason"] = cedar.String(r.Reason)
	}
	if r.Peer.IsValid() {
		// As policies write it: an IPv4 address is one, however it was carried.
		peer := r.Peer.Unmap().WithZone("")
		c["peer"] = cedar.IPAddr(netip.PrefixFrom(peer, peer.BitLen()))
	}
	return cedar.NewRecord(c)
}

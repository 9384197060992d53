package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cedar-policy/cedar-go"

	"github.com/keyward/keyward/broker"
)

// Types of the schema.
const (
	typeWorkload    cedar.EntityType = "Workload"
	typeGroup       cedar.EntityType = "Group"
	typeVault       cedar.EntityType = "Vault"
	typeSecret      cedar.EntityType = "Secret"
	typeCertificate cedar.EntityType = "Certificate"
	typeAction      cedar.EntityType = "Action"
)

// kindOf says which collection a type's objects are in.
var kindOf = map[cedar.EntityType]broker.Kind{
	typeSecret:      broker.KindSecrets,
	typeCertificate: broker.KindCertificates,
}

// query is one request in Cedar's terms. It is the request's view of the
// entities, too: its own over those that the Engine shares.
type query struct {
	request    cedar.Request
	collection bool

	principal cedar.Entity
	resource  cedar.Entity
	shared    cedar.EntityMap
}

func (e *Engine) newQuery(r broker.Request) (*query, error) {
	q := &query{
		shared:     e.entities,
		collection: r.Resource.Kind() != "" && r.Resource.ObjectName() == "",
	}
	var err error
	if q.resource, err = resourceEntity(r.Resource); err != nil {
		return nil, err
	}
	if !slices.Contains(e.resources[r.Action], q.resource.UID.Type) {
		return nil, fmt.Errorf("policy: the schema has no action %q on a %s", r.Action, q.resource.UID.Type)
	}
	switch {
	case r.Principal.ID == "":
		return nil, errors.New("policy: the request has no principal")
	case r.Time.IsZero():
		return nil, errors.New("policy: the request has no time")
	}
	q.principal = e.principalEntity(r.Principal)
	q.request = cedar.Request{
		Principal: q.principal.UID,
		Action:    cedar.NewEntityUID(typeAction, cedar.String(r.Action)),
		Resource:  q.resource.UID,
		Context:   contextRecord(r),
	}
	return q, nil
}

// Get implements cedar.EntityGetter.
func (q *query) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	switch uid {
	case q.principal.UID:
		return q.principal, true
	case q.resource.UID:
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
	return objectEntity(uid, n), true
}

// principalEntity is in the groups that its credentials and entities.json put
// it in.
func (e *Engine) principalEntity(p broker.Principal) cedar.Entity {
	uid := cedar.NewEntityUID(typeWorkload, cedar.String(p.ID))
	groups := e.entities[uid].Parents.Slice()
	for _, g := range p.Groups {
		groups = append(groups, cedar.NewEntityUID(typeGroup, cedar.String(g)))
	}
	return cedar.Entity{UID: uid, Parents: cedar.NewEntityUIDSet(groups...), Attributes: e.principalAttributes(uid, p)}
}

// principalAttributes are those of the credentials, over those of
// entities.json. One that the schema does not have is left out: no policy could
// ask for it.
func (e *Engine) principalAttributes(uid cedar.EntityUID, p broker.Principal) cedar.Record {
	given := e.entities[uid].Attributes
	if len(p.Attributes) == 0 {
		return given
	}
	all := cedar.RecordMap{}
	for k, v := range given.All() {
		all[k] = v
	}
	for k, v := range p.Attributes {
		if slices.Contains(e.attributes, k) {
			all[cedar.String(k)] = cedar.String(v)
		}
	}
	return cedar.NewRecord(all)
}

// resourceEntity returns the entity that stands for n. That of a collection has
// the type of its objects and an id that no object has.
func resourceEntity(n broker.Name) (cedar.Entity, error) {
	if n.IsZero() {
		return cedar.Entity{}, errors.New("policy: the request has no resource")
	}
	if n.Kind() == "" {
		return cedar.Entity{UID: vaultUID(n)}, nil
	}
	for t, kind := range kindOf {
		if kind == n.Kind() {
			return objectEntity(cedar.NewEntityUID(t, cedar.String(n.Base().String())), n), nil
		}
	}
	return cedar.Entity{}, fmt.Errorf("policy: the schema has no type for %q", n.Kind())
}

func objectEntity(uid cedar.EntityUID, n broker.Name) cedar.Entity {
	return cedar.Entity{
		UID:     uid,
		Parents: cedar.NewEntityUIDSet(vaultUID(n)),
		Attributes: cedar.NewRecord(cedar.RecordMap{
			"name":  cedar.String(n.ObjectName()),
			"vault": cedar.String(n.VaultAlias()),
		}),
	}
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

package broker

import (
	"context"
	"net/netip"
	"time"
)

// Principal is who is calling, as an Authenticator proved it. ID is a SPIFFE
// ID or "<issuer's configured name>/<subject>"; each group is
// "<issuer's configured name>/<group>".
type Principal struct {
	ID         string
	Groups     []string
	Attributes map[string]string
}

// Transports of a call.
const (
	TransportGRPC = "grpc"
	TransportREST = "rest"
)

// Caller is a principal and how the call came in.
type Caller struct {
	Principal
	// Peer is the address at the other end of the connection.
	Peer netip.Addr
	// Transport is TransportGRPC or TransportREST.
	Transport string
	// RequestID is the client's x-request-id, or one made at the wire.
	RequestID string
	// Reason is why the caller says it calls: what a break-glass policy asks
	// for. It is recorded, and "" where none is given.
	Reason string
}

// Action is what a caller wants to do; its text is the action's id in policies.
type Action string

const (
	ActionGetSecret          Action = "getSecret"
	ActionSetSecret          Action = "setSecret"
	ActionUpdateSecret       Action = "updateSecret"
	ActionGenerateSecret     Action = "generateSecret"
	ActionWatchSecret        Action = "watchSecret"
	ActionDeleteSecret       Action = "deleteSecret"
	ActionListSecrets        Action = "listSecrets"
	ActionListSecretVersions Action = "listSecretVersions"
	ActionGetDeletedSecret   Action = "getDeletedSecret"
	ActionListDeletedSecrets Action = "listDeletedSecrets"
	ActionUndeleteSecret     Action = "undeleteSecret"
	ActionPurgeSecret        Action = "purgeSecret"
	ActionBackupSecret       Action = "backupSecret"
	ActionRestoreSecret      Action = "restoreSecret"

	ActionCreateKey            Action = "createKey"
	ActionImportKey            Action = "importKey"
	ActionGetKey               Action = "getKey"
	ActionListKeys             Action = "listKeys"
	ActionListKeyVersions      Action = "listKeyVersions"
	ActionUpdateKey            Action = "updateKey"
	ActionDeleteKey            Action = "deleteKey"
	ActionGetDeletedKey        Action = "getDeletedKey"
	ActionListDeletedKeys      Action = "listDeletedKeys"
	ActionUndeleteKey          Action = "undeleteKey"
	ActionPurgeKey             Action = "purgeKey"
	ActionBackupKey            Action = "backupKey"
	ActionRestoreKey           Action = "restoreKey"
	ActionRotateKey            Action = "rotateKey"
	ActionGetRotationPolicy    Action = "getRotationPolicy"
	ActionUpdateRotationPolicy Action = "updateRotationPolicy"
	ActionEncryptKey           Action = "encryptKey"
	ActionDecryptKey           Action = "decryptKey"
	ActionWrapKey              Action = "wrapKey"
	ActionUnwrapKey            Action = "unwrapKey"
	ActionSignKey              Action = "signKey"
	ActionVerifyKey            Action = "verifyKey"

	ActionCreateCertificate          Action = "createCertificate"
	ActionImportCertificate          Action = "importCertificate"
	ActionMergeCertificate           Action = "mergeCertificate"
	ActionGetCertificate             Action = "getCertificate"
	ActionListCertificates           Action = "listCertificates"
	ActionListCertificateVersions    Action = "listCertificateVersions"
	ActionUpdateCertificate          Action = "updateCertificate"
	ActionDeleteCertificate          Action = "deleteCertificate"
	ActionGetDeletedCertificate      Action = "getDeletedCertificate"
	ActionListDeletedCertificates    Action = "listDeletedCertificates"
	ActionUndeleteCertificate        Action = "undeleteCertificate"
	ActionPurgeCertificate           Action = "purgeCertificate"
	ActionBackupCertificate          Action = "backupCertificate"
	ActionRestoreCertificate         Action = "restoreCertificate"
	ActionGetCertificatePolicy       Action = "getCertificatePolicy"
	ActionUpdateCertificatePolicy    Action = "updateCertificatePolicy"
	ActionGetCertificateOperation    Action = "getCertificateOperation"
	ActionCancelCertificateOperation Action = "cancelCertificateOperation"
	ActionDeleteCertificateOperation Action = "deleteCertificateOperation"
	ActionDownloadCertificate        Action = "downloadCertificate"
	ActionGetCertificateContacts     Action = "getCertificateContacts"
	ActionUpdateCertificateContacts  Action = "updateCertificateContacts"
	ActionDeleteCertificateContacts  Action = "deleteCertificateContacts"
	ActionListCertificateIssuers     Action = "listCertificateIssuers"
	ActionGetCertificateIssuer       Action = "getCertificateIssuer"

	ActionExplainAccess Action = "explainAccess"
)

// Request is what an Authorizer decides on: the caller, the name and the
// context only. What a vault answers is never part of it.
type Request struct {
	Principal Principal
	Action    Action
	// Resource is an object, or for what Action.DecidedOn says a vault. Where it is a
	// collection, the question is whether any object of it could be permitted.
	Resource  Name
	Time      time.Time
	Peer      netip.Addr
	Transport string
	Reason    string
}

// Decision is an Authorizer's answer.
type Decision struct {
	Allowed bool
	// Policies are the ids of the policies that decided; none for a default
	// denial.
	Policies []string
	// PolicySet is the hash of the policies and entities in force.
	PolicySet string
	// BreakGlass: it is allowed, and by break-glass policies alone.
	BreakGlass bool
}

// Authorizer decides. An error is a denial. Authorize may be called
// concurrently.
type Authorizer interface {
	Authorize(ctx context.Context, r Request) (Decision, error)
}

// A BulkAuthorizer is an Authorizer that decides on many objects for one caller
// at less cost than one by one.
type BulkAuthorizer interface {
	Authorizer

	// AuthorizeAll decides r on each of names, which are objects of one kind, in
	// their order, as Authorize would; r.Resource is not looked at. All decisions
	// are of one policy set. What could not be decided is denied, and an error
	// tells of it.
	AuthorizeAll(ctx context.Context, r Request, names []Name) ([]Decision, error)
}

// An Explainer is an Authorizer that can say why, and who else.
type Explainer interface {
	Authorizer

	// Explain decides r, as Authorize does, and says where the deciding policies
	// stand.
	Explain(ctx context.Context, r Request) (Explanation, error)

	// Grants returns who could be permitted the action on the resource: an object,
	// or a vault where the action is decided on one.
	Grants(ctx context.Context, a Action, resource Name) ([]Grant, error)
}

// PolicyRef is a policy and where it stands: "pay.cedar:3:1", the file's base
// name with line and column.
type PolicyRef struct{ ID, Position string }

// Explanation is a Decision with the positions of its Policies, in their order.
type Explanation struct {
	Decision

	Refs []PolicyRef
}

// Kinds of subjects.
const (
	SubjectWorkload = "workload"
	SubjectGroup    = "group"
	// SubjectAnyone is whoever can authenticate.
	SubjectAnyone = "anyone"
)

// Subject is a workload, a group of them, or anyone, whose ID is "".
type Subject struct{ Kind, ID string }

// Grant is one subject that could be permitted.
type Grant struct {
	Subject

	// Via is the group through which a workload has it, if entities.json puts it
	// there.
	Via string
	// Policies permit it.
	Policies []PolicyRef
	// Conditions, in Cedar, are what must hold beside: one of them. None means
	// that nothing else must.
	Conditions []string
	// Except are those of the subject who are forbidden.
	Except []Exception
}

// Exception is a subject that a policy forbids, always or under a condition in
// Cedar.
type Exception struct {
	Subject

	Condition string
	Policy    PolicyRef
}

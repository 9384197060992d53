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
}

// Action is what a caller wants to do; its text is the action's id in policies.
type Action string

const (
	ActionGetSecret           Action = "getSecret"
	ActionSetSecret           Action = "setSecret"
	ActionUpdateSecret        Action = "updateSecret"
	ActionGenerateSecret      Action = "generateSecret"
	ActionDeleteSecret        Action = "deleteSecret"
	ActionListSecrets         Action = "listSecrets"
	ActionListSecretVersions  Action = "listSecretVersions"
	ActionGetDeletedSecret    Action = "getDeletedSecret"
	ActionListDeletedSecrets  Action = "listDeletedSecrets"
	ActionUndeleteSecret      Action = "undeleteSecret"
	ActionPurgeSecret         Action = "purgeSecret"
	ActionBackupSecret        Action = "backupSecret"
	ActionRestoreSecret       Action = "restoreSecret"
	ActionDownloadCertificate Action = "downloadCertificate"
)

// Request is what an Authorizer decides on: the caller, the name and the
// context only. What a vault answers is never part of it.
type Request struct {
	Principal Principal
	Action    Action
	// Resource is an object, or for ActionRestoreSecret a vault. Where it is a
	// collection, the question is whether any object of it could be permitted.
	Resource  Name
	Time      time.Time
	Peer      netip.Addr
	Transport string
}

// Decision is an Authorizer's answer.
type Decision struct {
	Allowed bool
	// Policies are the ids of the policies that decided; none for a default
	// denial.
	Policies []string
	// PolicySet is the hash of the policies and entities in force.
	PolicySet string
}

// Authorizer decides. An error is a denial. Authorize may be called
// concurrently.
type Authorizer interface {
	Authorize(ctx context.Context, r Request) (Decision, error)
}

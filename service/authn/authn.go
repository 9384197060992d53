// Package authn names the caller of a call: from a bearer token, or from the
// client certificate of its connection.
//
// A bearer token, if one is sent, must be valid and names the principal; the
// certificate then only secures the channel. Without one, the certificate
// names the principal. A Chain of NewJWT and NewMTLS keeps that rule in either
// order.
package authn

import (
	"context"
	"crypto/tls"
	"errors"

	"github.com/keyward/keyward/broker"
)

// Credentials are what came with a call. Nothing in them has been judged, but
// that the TLS handshake verified the certificate chains it lists as verified.
type Credentials struct {
	// Authorization are the values of the Authorization header, as sent.
	Authorization []string
	// TLS is the state of the connection. nil means no TLS, and no certificate.
	TLS *tls.ConnectionState
}

// Authenticator names the caller. ErrNoCredentials means "not mine, try the
// next"; any other error ends the call, and is a *broker.Error whose Message
// may be told to the caller. Authenticate may be called concurrently.
type Authenticator interface {
	Authenticate(ctx context.Context, c Credentials) (broker.Principal, error)
}

// ErrNoCredentials says that a call carries no credentials of the kind that an
// Authenticator judges. Test for it with errors.Is.
var ErrNoCredentials error = &broker.Error{Code: broker.CodeNoCredentials}

// Chain asks each Authenticator in turn, and answers with the first that does
// not say ErrNoCredentials.
type Chain []Authenticator

// Authenticate implements Authenticator. An Authorization header that no
// member takes is refused: what a caller says of itself must be true, even
// where a certificate would have sufficed.
func (ch Chain) Authenticate(ctx context.Context, c Credentials) (broker.Principal, error) {
	for _, a := range ch {
		p, err := a.Authenticate(ctx, c)
		if errors.Is(err, ErrNoCredentials) {
			continue
		}
		return p, err
	}
	if len(c.Authorization) > 0 {
		return broker.Principal{}, refuse("the Authorization header is not accepted here; send a bearer token of a configured issuer, or none and a client certificate", nil)
	}
	return broker.Principal{}, ErrNoCredentials
}

// refuse returns the error for credentials that were sent and are not valid.
// message is told to the caller, cause to the log.
func refuse(message string, cause error) error {
	return &broker.Error{Code: broker.CodeBadCredentials, Message: message, Err: cause}
}

package keyvault

import (
	"context"
	"net/http"
	"time"

	"github.com/keyward/keyward/broker"
)

const updatePolicy = "UpdateRotationPolicy"

// RotateKey implements broker.KeyStore. It is never tried twice: after
// VAULT_UNAVAILABLE the version may or may not exist.
func (c *Client) RotateKey(ctx context.Context, name broker.Name) (broker.Key, error) {
	asked := time.Now()
	k := call{
		operation: "RotateKey", method: http.MethodPost, path: keyPath(name) + "/rotate",
		keys: true, repeat: never, timeout: makingTimeout, limit: maxReplyLen,
	}
	rotated, err := invoke(ctx, c, k, func(w KeyBundle) (broker.Key, error) { return c.keyOf(name.Base(), w) })
	return rotated, c.moves.judge(name, live, asked, err)
}

// GetRotationPolicy implements broker.KeyStore.
func (c *Client) GetRotationPolicy(ctx context.Context, name broker.Name) (broker.RotationPolicy, error) {
	return c.rotationPolicy(ctx, name, call{operation: "GetRotationPolicy", method: http.MethodGet})
}

// UpdateRotationPolicy implements broker.KeyStore. The same policy twice is the
// policy.
func (c *Client) UpdateRotationPolicy(ctx context.Context, name broker.Name, p broker.RotationPolicy) (broker.RotationPolicy, error) {
	p.Created, p.Updated = time.Time{}, time.Time{} // the vault's to say
	k, err := call{operation: updatePolicy, method: http.MethodPut}.with(FromRotationPolicy("", p))
	if err != nil {
		return broker.RotationPolicy{}, err
	}
	return c.rotationPolicy(ctx, name, k)
}

func (c *Client) rotationPolicy(ctx context.Context, name broker.Name, k call) (broker.RotationPolicy, error) {
	asked := time.Now()
	k.path, k.keys, k.repeat, k.limit = keyPath(name)+"/rotationpolicy", true, ifFailed, maxReplyLen
	p, err := invoke(ctx, c, k, func(w RotationPolicy) (broker.RotationPolicy, error) { return w.As(), wholePolicy(w) })
	return p, c.moves.judge(name, live, asked, err)
}

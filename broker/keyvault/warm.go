package keyvault

import (
	"context"
	"io"
	"net/http"

	"github.com/keyward/keyward/broker"
)

// Warm gets a token and opens a connection, so that the first call waits for
// neither. Nothing depends on it: after an error, calls do as they would without.
//
// The connection is opened by a request for the vault's health, which takes no
// token and is no business of a permission; whatever the vault answers will do.
func (c *Client) Warm(ctx context.Context) error {
	token := make(chan error, 1)
	go func() {
		_, err := c.tokens.Token(ctx, c.scope, "")
		token <- err
	}()
	connected := c.connect(ctx)
	if err := <-token; err != nil {
		return tokenError(err)
	}
	if connected != nil && ctx.Err() != nil {
		return broker.AsError(ctx.Err())
	}
	if connected != nil {
		return unavailable(connected)
	}
	return nil
}

func (c *Client) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout+handshakeTimeout+tryTimeout)
	defer cancel()
	http1, err := c.health(ctx)
	if err == nil && http1 {
		// The pool has learned it from this reply, and keeps such connections apart.
		_, err = c.health(ctx)
	}
	return err
}

// health asks for the vault's health, and tells whether it speaks HTTP/1.1.
func (c *Client) health(ctx context.Context) (http1 bool, err error) {
	u := c.origin
	u.Path = "/healthstatus"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("User-Agent", "keyward")
	resp, err := c.http.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	// What is left unread would cost the connection, where it is HTTP/1.1.
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxReplyLen))
	return resp.ProtoMajor == 1, err
}

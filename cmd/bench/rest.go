package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"time"
)

const callTimeout = 10 * time.Second

// httpClient returns a client with a pool of connections of its own.
func (r *rig) httpClient(conf *tls.Config, http2 bool) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	t := &http.Transport{
		TLSClientConfig:     conf,
		Protocols:           &protocols,
		MaxIdleConnsPerHost: callers,
		DisableCompression:  true,
	}
	r.closers = append(r.closers, func() error { t.CloseIdleConnections(); return nil })
	return &http.Client{Transport: t, Timeout: callTimeout}
}

// restGets is a load of Gets by callers with a certificate: over HTTP/2 on as many
// connections as gRPC has, over HTTP/1.1 on one for each caller, which is what
// that takes.
func (r *rig) restGets(ctx context.Context, server *process, address string, http2 bool) (load, error) {
	clients := []*http.Client{r.httpClient(r.callers.tls(true), http2)}
	for http2 && len(clients) < connections {
		clients = append(clients, r.httpClient(r.callers.tls(true), http2))
	}
	// A request can be used again once its answer is read.
	requests := make([][]*http.Request, callers)
	for c := range requests {
		for _, n := range r.names[:warmNames] {
			req, err := restGet(ctx, address, n)
			if err != nil {
				return load{}, err
			}
			requests[c] = append(requests[c], req)
		}
	}
	buffers := make([]bytes.Buffer, callers)
	return load{name: server.name, server: server, callers: callers, call: func(_ context.Context, caller, n int) error {
		b := &buffers[caller]
		b.Reset()
		_, err := answer(clients[caller%len(clients)], requests[caller][turn(caller, n, warmNames)], b)
		if err == nil && b.Len() < valueBytes {
			err = fmt.Errorf("an answer of %d bytes", b.Len())
		}
		return err
	}}, nil
}

func restGet(ctx context.Context, address, name string) (*http.Request, error) {
	return http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/v1/"+secretName("bench", name), nil)
}

// answer sends a request and reads all of the answer's body into b.
func answer(c *http.Client, req *http.Request, b *bytes.Buffer) (http.Header, error) {
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(b, resp.Body); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", req.URL.Path, resp.Status)
	}
	return resp.Header, nil
}

// restAnswer is what the broker answers to a Get.
func (r *rig) restAnswer(ctx context.Context, k *keyward, name string) ([]byte, error) {
	req, err := restGet(ctx, k.http, name)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	header, err := answer(r.httpClient(r.callers.tls(true), true), req, &b)
	if got := header.Get("Content-Type"); err == nil && got != bareContentType {
		err = fmt.Errorf("keyward answers as %q, and the yardstick as %q", got, bareContentType)
	}
	return b.Bytes(), err
}

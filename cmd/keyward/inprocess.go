package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
)

// inProcess is an http.RoundTripper that calls a handler of this process: the
// client of an embedded vault speaks the same contract, without a network.
type inProcess struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper. The reply is whole before it returns.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	// What a handler expects of a server's request, and a client's lacks.
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	w := &inProcessReply{header: http.Header{}}
	t.handler.ServeHTTP(w, in)
	w.WriteHeader(http.StatusOK)
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		StatusCode:    w.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        w.sent,
		Body:          io.NopCloser(&w.body),
		ContentLength: int64(w.body.Len()),
		Request:       r,
	}, nil
}

// inProcessReply is the http.ResponseWriter of one call.
type inProcessReply struct {
	header, sent http.Header
	status       int
	body         bytes.Buffer
}

func (w *inProcessReply) Header() http.Header { return w.header }

func (w *inProcessReply) WriteHeader(status int) {
	if w.status == 0 {
		w.status, w.sent = status, w.header.Clone()
	}
}

func (w *inProcessReply) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

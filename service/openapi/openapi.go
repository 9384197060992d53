// Package openapi is the REST API's description of itself: openapi.json,
// generated from the protos, and a page that renders it in a browser without a
// network.
//
// Both are the same for everybody and say no more than the public proto files
// do, so no credentials are asked for.
package openapi

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"
)

//go:embed spec/openapi.json page
var files embed.FS

// policy keeps the page to what is served here: nothing inline, nothing from
// elsewhere, and no other page around it.
const policy = "default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page is one embedded file as it is served.
type page struct {
	content     []byte
	contentType string
	etag        string
}

// pages are all of them by path.
var pages = map[string]*page{
	"/openapi.json":  load("spec/openapi.json", "application/json"),
	"/docs":          load("page/index.html", "text/html; charset=utf-8"),
	"/docs/page.css": load("page/page.css", "text/css; charset=utf-8"),
	"/docs/page.js":  load("page/page.js", "text/javascript; charset=utf-8"),
	"/docs/icon.svg": load("page/icon.svg", "image/svg+xml"),
}

func load(name, contentType string) *page {
	content, err := files.ReadFile(name)
	if err != nil {
		panic(err) // the build embeds it
	}
	sum := sha256.Sum256(content)
	return &page{content: content, contentType: contentType, etag: `"` + hex.EncodeToString(sum[:12]) + `"`}
}

// Page returns what is served at an escaped path: /openapi.json, or /docs and
// what it is made of. It answers GET and HEAD; other methods are the caller's
// to refuse.
func Page(path string) (http.Handler, bool) {
	p, ok := pages[path]
	return p, ok
}

// ServeHTTP implements http.Handler.
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", p.contentType)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	// Kept, and asked for again each time: a new version is seen at once.
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", p.etag)
	if r.Method == http.MethodGet && !conditional(r.Header) {
		// ServeContent would take 32 KiB for each answer that nobody reads.
		h.Set("Content-Length", strconv.Itoa(len(p.content)))
		_, _ = w.Write(p.content)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(p.content))
}

// conditional reports whether the headers ask for less than the whole.
func conditional(h http.Header) bool {
	for _, name := range []string{"If-Match", "If-None-Match", "If-Range", "Range"} {
		if h.Get(name) != "" {
			return true
		}
	}
	return false
}

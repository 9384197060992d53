package service

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service/authn"
	"github.com/keyward/keyward/service/openapi"
)

// gateway is REST over the same service methods, in this process. It is the
// outermost handler, and matches the path as it was sent: nothing is cleaned,
// redirected or unescaped before it.
//
// A path that is no route is answered without asking who calls, since the
// routes are no secret; every route asks before its handler runs.
type gateway struct {
	*Server

	routes  routes
	plain   route // of getSecret
	secrets *secretService
	form    *jsonForm
	mux     *runtime.ServeMux
	origins *http.CrossOriginProtection
}

func newGateway(
	s *Server, secrets *secretService, keys keywardv1.KeyServiceServer,
	certificates keywardv1.CertificateServiceServer, access keywardv1.AccessServiceServer,
) (*gateway, error) {
	g := &gateway{Server: s, secrets: secrets, form: newJSONForm(), origins: http.NewCrossOriginProtection()}
	var err error
	if g.routes, err = newRoutes(services()...); err != nil {
		return nil, err
	}
	var ok bool
	if g.plain, ok = g.routes.of(http.MethodGet, getSecretTemplate); !ok {
		return nil, errNoAnnotation
	}
	none := func(string) (string, bool) { return "", false }
	g.mux = runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, g.form),
		runtime.WithUnescapingMode(runtime.UnescapingModeAllExceptReserved),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithIncomingHeaderMatcher(none),
		runtime.WithOutgoingHeaderMatcher(none),
		runtime.WithOutgoingTrailerMatcher(none),
		runtime.WithErrorHandler(g.refuseCall),
		runtime.WithRoutingErrorHandler(g.refuseRoute),
		runtime.WithForwardResponseOption(showETag),
		runtime.WithMiddlewares(g.enter),
	)
	ctx := context.Background() // of which the generated code makes no use
	err = errors.Join(
		keywardv1.RegisterSecretServiceHandlerServer(ctx, g.mux, secrets),
		keywardv1.RegisterKeyServiceHandlerServer(ctx, g.mux, keys),
		keywardv1.RegisterCertificateServiceHandlerServer(ctx, g.mux, certificates),
		keywardv1.RegisterAccessServiceHandlerServer(ctx, g.mux, access))
	if err != nil {
		return nil, err
	}
	for _, rt := range g.routes {
		if rt.stream { // behind the others, whose place it takes
			err = errors.Join(err, g.mux.HandlePath(rt.httpMethod, rt.template, g.watch))
		}
	}
	return g, err
}

// headersKey is where enter finds what ServeHTTP took from the headers.
type headersKey struct{}

type headers struct {
	credentials authn.Credentials
	reasons     []string
	// conditional names a header by which HTTP makes a change conditional, and
	// we do not: a precondition is a field here.
	conditional string
	// foreign is the complaint if a browser sends a change for a page that is
	// not ours. With it could come a client certificate, which a browser shows
	// to whoever's page.
	foreign error
}

// ServeHTTP implements http.Handler.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.restCalls.enter() {
		panic(http.ErrAbortHandler) // its connection was cut off already
	}
	defer g.restCalls.leave()
	c := &call{
		method: noMethod,
		began:  time.Now(),
		caller: broker.Caller{
			Transport: broker.TransportREST,
			RequestID: requestID(r.Header.Values("X-Request-Id")),
		},
		conn:       connIn(r.Context()),
		knownETags: etagsOf(r.Header.Values("If-None-Match")),
	}
	if c.conn != nil {
		c.caller.Peer = c.conn.peer
	} else {
		c.caller.Peer = peerAddr(r.RemoteAddr)
	}
	// The span's name grows to the route's template once that is known, and
	// never holds the path.
	method := knownMethod(r.Method)
	ctx, span := g.startSpan(r.Context(), propagation.HeaderCarrier(r.Header), method)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("http.request.method", method))
	}
	c.Context, c.span = context.WithValue(ctx, headersKey{}, headers{
		credentials: authn.Credentials{Authorization: r.Header.Values("Authorization"), TLS: r.TLS},
		reasons:     r.Header.Values(reasonHeader),
		conditional: conditionOf(r.Header),
		foreign:     g.origins.Check(r),
	}), span
	ctx = c
	defer func() {
		if p := recover(); p != nil {
			g.write(ctx, w, g.refuse(ctx, recovered(p)), 0)
		}
		g.observe(c)
	}()

	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if g.state.Load() == stateDraining {
		h.Set("Connection", "close") // the next call is better made elsewhere
	}
	if page, ok := openapi.Page(r.URL.EscapedPath()); ok {
		g.describe(ctx, w, r, page)
		return
	}

	// All that is wanted of the headers has been taken. The gateway's own use of
	// them (metadata, method override, timeouts, forms, trailers) has nothing
	// left to read.
	r = r.WithContext(ctx)
	if isGetSecret(r) {
		g.pass(w, r, g.plain, nil, g.getSecret)
		return
	}
	r.Header = http.Header{}
	r.Trailer = nil
	g.mux.ServeHTTP(w, r)
}

// describe serves a page of the API's own description, to anybody.
func (g *gateway) describe(ctx context.Context, w http.ResponseWriter, r *http.Request, page http.Handler) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		g.write(ctx, w, unknownRoute(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	page.ServeHTTP(w, r)
}

// enter is what a call passes between its route and its handler.
func (g *gateway) enter(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		ctx := r.Context()
		pattern, _ := runtime.HTTPPattern(ctx)
		rt, ok := g.routes.of(r.Method, pattern.String())
		if !ok {
			g.write(ctx, w, g.refuse(ctx, errNoAnnotation), 0)
			return
		}
		g.pass(w, r, rt, params, next)
	}
}

var errNoAnnotation = &broker.Error{Code: broker.CodeInternal, Err: errors.New("service: a route that no annotation has")}

// pass lets a call through to the handler of its route, or not.
func (g *gateway) pass(w http.ResponseWriter, r *http.Request, rt route, params map[string]string, next runtime.HandlerFunc) {
	if c := callIn(r.Context()); !rt.stream { // that has no deadline
		c.limit(c.began)
		defer c.end()
	}
	if err := g.admit(w, r, rt, params); err != nil {
		g.refuseCall(r.Context(), g.mux, nil, w, r, err)
		return
	}
	next(w, r, params)
}

// admit checks what is common to all calls.
func (g *gateway) admit(w http.ResponseWriter, r *http.Request, rt route, params map[string]string) error {
	ctx := r.Context()
	callIn(ctx).method = rt.rpc
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetName(rt.httpMethod + " " + rt.template)
		span.SetAttributes(attribute.String("http.route", rt.template), attribute.String("rpc.method", rt.rpc[1:]))
	}

	h, _ := ctx.Value(headersKey{}).(headers)
	if h.foreign != nil {
		return g.refuseCaller(ctx, &broker.Error{
			Code: broker.CodeBadCredentials, Err: h.foreign,
			Message: "a browser sent this for a page of another origin, whose changes are not taken",
		})
	}
	if err := g.vet(ctx, h.credentials, h.reasons); err != nil {
		return err
	}
	// An escaped slash would become one in the name, and so a second spelling of
	// another.
	if strings.Contains(strings.ToLower(r.URL.RawPath), "%2f") {
		return &broker.Error{Code: broker.CodeBadName, Field: "name"}
	}
	if h.conditional != "" && r.Method != http.MethodGet {
		return &broker.Error{Code: broker.CodeBadField, Message: h.conditional + " is not heeded here; a precondition is the field etag"}
	}
	if err := rt.checkQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if rt.bare && r.Body == http.NoBody {
		return nil
	}
	bound := boundOf(rt.rpc)
	body := &requestBody{ReadCloser: http.MaxBytesReader(w, r.Body, int64(bound.body)), bound: bound, path: params}
	r.Body = body
	if rt.bare {
		return body.wantNone()
	}
	if rt.patch == nil {
		return nil
	}
	callIn(ctx).maskFilled = !hasMask(r.URL.Query())
	return body.check(rt.patch)
}

// conditionOf returns the name of a header that is a precondition, or "".
func conditionOf(h http.Header) string {
	for _, name := range []string{"If-Match", "If-None-Match", "If-Unmodified-Since"} {
		if h.Get(name) != "" {
			return name
		}
	}
	return ""
}

// hasMask reports whether a query has an update mask of its own.
func hasMask(q url.Values) bool { return q.Has("update_mask") || q.Has("updateMask") }

// showETag gives the reply to a Get its ETag. To those who have it already that
// is all there is: net/http writes no body after a 304.
func showETag(ctx context.Context, w http.ResponseWriter, reply proto.Message) error {
	got, ok := reply.(*keywardv1.GetSecretResponse)
	if !ok {
		return nil
	}
	etag, known := got.GetSecret().GetEtag(), callIn(ctx).knownETags
	w.Header().Set("ETag", etag)
	if got.GetNotModified() && tagged(known, etag) {
		w.Header().Del("Content-Type")
		w.WriteHeader(http.StatusNotModified)
	}
	return nil
}

// refuseCall answers a call that reached its route. What is not the broker's or
// ours is the gateway's own complaint of the request; its words may quote it.
func (g *gateway) refuseCall(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	if b, ok := r.Body.(*requestBody); ok && b.err != nil {
		err = b.err
	}
	if _, ours := errors.AsType[*broker.Error](err); !ours {
		if _, malformed := errors.AsType[*runtime.HTTPStatusError](err); malformed {
			err = &broker.Error{Code: broker.CodeBadName, Field: "name"}
		} else if status.Code(err) == codes.InvalidArgument {
			err = &broker.Error{Code: broker.CodeBadField, Message: "a query parameter is malformed, of a wrong type or given twice"}
		}
	}
	g.write(ctx, w, g.refuse(ctx, err), 0)
}

// refuseRoute answers what matches no route, or one with other methods.
func (g *gateway) refuseRoute(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, httpStatus int) {
	if httpStatus == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", strings.Join(g.routes.allowed(r.URL.EscapedPath()), ", "))
	} else {
		httpStatus = http.StatusNotFound
	}
	g.write(ctx, w, unknownRoute(httpStatus), httpStatus)
}

// write answers with st as JSON. httpStatus 0 means that of st's code.
func (g *gateway) write(ctx context.Context, w http.ResponseWriter, st *status.Status, httpStatus int) {
	callIn(ctx).code = st.Code()
	if httpStatus == 0 {
		httpStatus = runtime.HTTPStatusFromCode(st.Code())
	}
	body, err := g.form.Marshal(st.Proto())
	if err != nil {
		g.log.ErrorContext(ctx, "an error could not be written", "error", err)
		httpStatus, body = http.StatusInternalServerError, []byte(`{"code":13,"message":"internal error"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if st.Code() == codes.Unauthenticated {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if after := retryAfter(st); after != "" {
		h.Set("Retry-After", after)
	}
	w.WriteHeader(httpStatus)
	_, _ = w.Write(body) //nolint:gosec // JSON, sent as such with nosniff; and the client may have gone
}

// knownMethod returns an HTTP method fit for a span's name.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "HTTP"
}

// Package service is the wire: keyward.v1 over gRPC and REST, with the identity
// of each caller, the errors they are told, and the settings that keep one
// caller from costing the others.
//
// A call takes the same way over both transports: recovery, telemetry, a
// deadline, authentication, a rate limit, and then a method of the service,
// which validates, asks the broker and converts. Authorization and its record are the broker's:
// nothing here decides.
package service

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service/authn"
)

const scope = "github.com/keyward/keyward/service"

const (
	defaultDrainTimeout = 20 * time.Second
	// cutOff is how long handlers may take to notice that they were cut off.
	cutOff    = 5 * time.Second
	maxHeader = 32 << 10 // bytes
	// streamWorkers are the goroutines that are kept for gRPC calls.
	streamWorkers = 32
)

// Config is what a Server is made of.
type Config struct {
	// Broker and Authenticator are required.
	Broker        *broker.Broker
	Authenticator authn.Authenticator
	// Limits hold callers back.
	Limits Limits
	// TLS gives the server's certificate, and in ClientCAs who may sign a
	// client's; GetCertificate and GetConfigForClient are kept. New sets the
	// rest: TLS 1.3 only, client certificates verified if given, no session
	// tickets. Without ClientCAs no client certificate is asked for.
	TLS *tls.Config
	// PageTokenKey is at least 32 random bytes, the same in every replica. Empty
	// means a key of this process: its page tokens end with it.
	PageTokenKey []byte
	// Reflection serves gRPC reflection, to callers without credentials too: it
	// shows what the public proto files say, and no more.
	Reflection bool
	// DrainNotice is how long the Server goes on as before, but not ready, after
	// Serve's context ends: the time in which balancers see that.
	DrainNotice time.Duration
	// DrainTimeout is how long calls in flight may go on after Serve's context
	// ends. 0 means 20 s.
	DrainTimeout time.Duration
	// Logger, TracerProvider and MeterProvider may be nil.
	Logger         *slog.Logger
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
	// Propagator takes the trace of a caller. nil means W3C traceparent and
	// tracestate; baggage is not taken.
	Propagator propagation.TextMapPropagator

	now            func() time.Time // the limits' clock, in tests
	maxWatches     int              // in tests
	readerPatience time.Duration    // in tests
}

// Server serves keyward.v1 over gRPC and REST. Its methods may be called
// concurrently.
type Server struct {
	broker     *broker.Broker
	admission  atomic.Pointer[admission]
	admitting  sync.Mutex // held by who changes admission
	log        *slog.Logger
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	metrics    *callMetrics
	strangers  *strangers

	grpc         *grpc.Server
	http         *http.Server
	health       *health.Server
	drainNotice  time.Duration
	drainTimeout time.Duration
	state        atomic.Int32
	// restCalls are what the end of the drain waits for.
	restCalls handlers
	// draining ends with the time for new calls, and with it the streams.
	draining   context.Context //nolint:containedctx // the server's own life, no call's
	startDrain context.CancelFunc
}

// New returns a Server that does not serve yet. It fails if c lacks a Broker,
// an Authenticator or a certificate, or if its PageTokenKey is too short or its
// Limits are none that can be kept.
func New(c Config) (*Server, error) {
	if c.Broker == nil {
		return nil, errors.New("service: no broker")
	}
	if c.Authenticator == nil {
		return nil, errors.New("service: no authenticator")
	}
	if err := checkTLS(c.TLS); err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.TracerProvider == nil {
		c.TracerProvider = tracenoop.NewTracerProvider()
	}
	if c.MeterProvider == nil {
		c.MeterProvider = metricnoop.NewMeterProvider()
	}
	if c.Propagator == nil {
		c.Propagator = propagation.TraceContext{}
	}
	if c.now == nil {
		c.now = time.Now
	}
	lim, err := newLimits(c.Limits, c.MeterProvider, c.now)
	if err != nil {
		return nil, err
	}
	metrics, err := newCallMetrics(c.MeterProvider)
	if err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	shakes, err := newHandshakes(c.MeterProvider, c.Logger)
	if err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	strangers, err := newStrangers(c.MeterProvider)
	if err != nil {
		return nil, err
	}
	pages, err := newPageTokens(c.PageTokenKey)
	if err != nil {
		return nil, err
	}
	s := &Server{
		broker:       c.Broker,
		log:          c.Logger,
		tracer:       c.TracerProvider.Tracer(scope),
		propagator:   c.Propagator,
		metrics:      metrics,
		strangers:    strangers,
		health:       health.NewServer(),
		drainNotice:  c.DrainNotice,
		drainTimeout: cmp.Or(c.DrainTimeout, defaultDrainTimeout),
	}
	s.admission.Store(&admission{authenticator: c.Authenticator, limits: lim})
	s.draining, s.startDrain = context.WithCancel(context.Background())
	watches, err := newWatches(c, s.authenticate)
	if err != nil {
		return nil, err
	}
	secrets := &secretService{broker: c.Broker, pages: pages, refuse: s.refuse, watches: watches}
	s.grpc = s.newGRPC(c, shakes)
	keys := &keyService{broker: c.Broker, pages: pages}
	certificates := &certificateService{broker: c.Broker, pages: pages}
	access := &accessService{broker: c.Broker}
	keywardv1.RegisterSecretServiceServer(s.grpc, grpcSecrets{secrets})
	keywardv1.RegisterKeyServiceServer(s.grpc, keys)
	keywardv1.RegisterCertificateServiceServer(s.grpc, certificates)
	keywardv1.RegisterAccessServiceServer(s.grpc, access)
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	if c.Reflection {
		reflection.Register(s.grpc)
	}
	s.setHealth(grpc_health_v1.HealthCheckResponse_NOT_SERVING)

	g, err := newGateway(s, secrets, keys, certificates, access)
	if err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	s.http = s.newHTTP(c, shakes, g)
	return s, nil
}

// newGRPC returns the gRPC server. The gateway takes the same steps in ServeHTTP and
// pass as its interceptors do.
func (s *Server) newGRPC(c Config, shakes handshakes) *grpc.Server {
	return grpc.NewServer(
		grpc.Creds(shakes.grpc(credentials.NewTLS(strict(c.TLS, "h2")))),
		grpc.UnaryInterceptor(s.unary),
		grpc.StreamInterceptor(s.stream),
		grpc.RPCDecompressor(noGzip{}), //nolint:staticcheck // the one way to have none: exporters register gzip for all
		grpc.MaxConcurrentStreams(100),
		// A goroutine of its own for each call grows its stack anew each time, which is
		// a quarter of what a bare server does. These keep theirs; whoever comes when
		// all are busy has one made. grpc-go calls the option experimental.
		grpc.NumStreamWorkers(streamWorkers),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxHeaderListSize(maxHeader),
		// A connection that does nothing holds no buffer for what it could be sent,
		// and a small one for what it could send.
		grpc.ReadBufferSize(4<<10),
		grpc.ConnectionTimeout(5*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle:     5 * time.Minute,
			MaxConnectionAge:      connectionAge,
			MaxConnectionAgeGrace: connectionGrace,
			Time:                  time.Minute,
			Timeout:               10 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 30 * time.Second}),
		grpc.WaitForHandlers(true),
	)
}

func (s *Server) newHTTP(c Config, shakes handshakes, h http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Server{
		Handler:           h,
		TLSConfig:         strict(c.TLS, "h2", "http/1.1"),
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100, SendPingTimeout: time.Minute, PingTimeout: 10 * time.Second},
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          shakes.http(),
		ConnContext:       withConn,
	}
}

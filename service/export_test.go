package service

import (
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
)

// Gateway is the REST handler of s, without a listener.
func Gateway(s *Server) http.Handler { return s.http.Handler }

// Health is the state of s that its health service tells.
func Health(s *Server) *health.Server { return s.health }

// SetClock gives the limits of a Server another clock.
func SetClock(c *Config, now func() time.Time) { c.now = now }

// GRPC is the gRPC server of s, to register a service with before it serves.
func GRPC(s *Server) *grpc.Server { return s.grpc }

// Services are those that a Server serves.
var Services = services

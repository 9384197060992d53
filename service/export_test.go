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

// SetWatches gives a principal another number of watches, and an event another time
// to be read.
func SetWatches(c *Config, most int, patience time.Duration) {
	c.maxWatches, c.readerPatience = most, patience
}

// Strangers is how many connections have shown no credentials.
func Strangers(s *Server) int {
	s.strangers.mu.Lock()
	defer s.strangers.mu.Unlock()
	return s.strangers.oldest.Len()
}

package service

import (
	"net/http"

	"google.golang.org/grpc/health"
)

// Gateway is the REST handler of s, without a listener.
func Gateway(s *Server) http.Handler { return s.http.Handler }

// Health is the state of s that its health service tells.
func Health(s *Server) *health.Server { return s.health }

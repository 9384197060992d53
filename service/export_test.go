package service

import "net/http"

// Gateway is the REST handler of s, without a listener.
func Gateway(s *Server) http.Handler { return s.http.Handler }

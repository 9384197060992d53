package service

import (
	"errors"

	"github.com/keyward/keyward/service/authn"
)

// admission is whom the server believes, and what it takes of one caller.
type admission struct {
	authenticator authn.Authenticator
	limits        *limits
}

// Admit replaces the Authenticator that the Server was made with, and its Limits, as
// Limit does. If it fails, nothing changed.
func (s *Server) Admit(a authn.Authenticator, l Limits) error {
	if a == nil {
		return errors.New("service: no authenticator")
	}
	return s.admit(a, l)
}

// Limit replaces the Limits that the Server was made with. Calls that have begun go
// on. Where a Limit stays, callers keep what they have used of it.
func (s *Server) Limit(l Limits) error { return s.admit(nil, l) }

func (s *Server) admit(a authn.Authenticator, l Limits) error {
	s.admitting.Lock()
	defer s.admitting.Unlock()
	before := s.admission.Load()
	lim, err := before.limits.changed(l)
	if err != nil {
		return err
	}
	if a == nil {
		a = before.authenticator
	}
	s.admission.Store(&admission{authenticator: a, limits: lim})
	return nil
}

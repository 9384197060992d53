package service

import (
	"crypto/tls"
	"errors"
)

// strict returns base with what every connection must have: TLS 1.3, no
// session tickets (a resumed session would not verify its certificate again),
// and a client certificate that is asked for and, if given, verified. Without
// ClientCAs none is asked for: crypto/tls would verify it by the system's.
func strict(base *tls.Config, protocols ...string) *tls.Config {
	c := base.Clone()
	c.MinVersion, c.MaxVersion = tls.VersionTLS13, 0
	c.SessionTicketsDisabled = true
	c.InsecureSkipVerify = false
	c.NextProtos = protocols
	c.ClientAuth = tls.VerifyClientCertIfGiven
	if c.ClientCAs == nil {
		c.ClientAuth = tls.NoClientCert
	}
	get := base.GetConfigForClient
	c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if on, ok := h.Conn.(*conn); ok {
			on.takeTurn()
		}
		if get == nil {
			return nil, nil //nolint:nilnil // means c
		}
		chosen, err := get(h)
		if chosen == nil || err != nil {
			return nil, err
		}
		chosen = chosen.Clone()
		chosen.GetConfigForClient = nil
		return strict(chosen, protocols...), nil
	}
	return c
}

func checkTLS(c *tls.Config) error {
	if c == nil || (len(c.Certificates) == 0 && c.GetCertificate == nil && c.GetConfigForClient == nil) {
		return errors.New("service: no certificate; there is no service without TLS")
	}
	return nil
}

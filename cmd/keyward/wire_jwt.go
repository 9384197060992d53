package main

import (
	"fmt"

	"github.com/keyward/keyward/service/authn"
)

// issuers are those of bearer tokens, with the files they name.
func (w wiring) issuers() ([]authn.Issuer, error) {
	issuers := make([]authn.Issuer, len(w.config.Identity.JWT))
	for i, j := range w.config.Identity.JWT {
		roots, err := certPool(w.config.file(j.CAFile))
		if err != nil {
			return nil, fmt.Errorf("identity.jwt %s: caFile: %w", j.Name, err)
		}
		is := j.issuer()
		is.RootCAs = roots
		is.JWKSFile = w.config.file(j.JWKSFile)
		is.TokenFile = w.config.file(j.TokenFile)
		issuers[i] = is
	}
	return issuers, nil
}

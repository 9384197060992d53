package vaulthttp

import (
	"fmt"
	"strings"
)

// localDomain is the domain of vaults on this machine, as vault.azure.net is
// that of Azure's.
const localDomain = "vault.localhost"

// challengeTo returns what a client without a token is told that asked host.
//
// Azure's clients send a token only to a vault in the domain of the resource
// that its challenge names, port included. A vault asked by a name such as
// dev.vault.localhost:7445 names that domain; by any other name, the audience
// of tokens.
func (h *handler) challengeTo(host string) string {
	resource := h.Resource
	name, port, hasPort := strings.Cut(strings.ToLower(host), ":")
	if strings.HasSuffix(name, "."+localDomain) {
		resource = "https://" + localDomain
		if hasPort {
			resource += ":" + port
		}
	}
	return fmt.Sprintf("Bearer authorization=%q, resource=%q", h.Authority, resource)
}

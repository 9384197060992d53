package keyvault

import (
	"fmt"
	"regexp"
)

// What Key Vault says in an error's inner code where it does not let a caller in.
const (
	InnerAccessDenied          = "AccessDenied" // by access policies, which RBAC replaces
	InnerForbiddenByPolicy     = "ForbiddenByPolicy"
	InnerForbiddenByFirewall   = "ForbiddenByFirewall"
	InnerForbiddenByConnection = "ForbiddenByConnection"
)

// RefusedError is a vault's answer other than success: the cause of the
// broker.Error that it became. It is for the log and for who keeps the
// configuration, never for a client of the broker.
type RefusedError struct {
	Status int
	// Code and Inner are the vault's, such as "Forbidden" and "ForbiddenByRbac".
	Code, Inner string
	// Detail is the code that begins the vault's message about a token, such as
	// "AKV10032" for one of another tenant.
	Detail string
	// Permission is what the caller lacks, where the vault says it: a data action
	// such as "Microsoft.KeyVault/vaults/secrets/getSecret/action", or one of an
	// access policy, such as "secrets get" or "keys sign".
	Permission string

	request string // the vault's id of it
	message string // only what may be logged
}

// Error is one line, without URLs.
func (e *RefusedError) Error() string {
	text := fmt.Sprintf("the vault answered %d", e.Status)
	if e.Code != "" {
		text += " " + e.Code
	}
	if e.Inner != "" {
		text += "/" + e.Inner
	}
	if e.Permission != "" {
		text += ", lacking " + e.Permission
	}
	if e.request != "" {
		text += ", request " + e.request
	}
	if e.message != "" {
		text += ": " + e.message
	}
	return text
}

// What a message may name although the rest of it may repeat what was sent:
// words of Key Vault's own, and nothing else. A Managed HSM has actions of its
// own on keys, and no access policies.
var (
	dataAction = regexp.MustCompile(`(?:Action: '|Not authorized to access )(Microsoft\.KeyVault/(?:` +
		`(?:vaults|managedHsm)/secrets/(?:getSecret|setSecret|readMetadata|update|delete|purge|recover|backup|restore)|` +
		`(?:vaults|managedHsm)/keys/(?:` + keyActions + `)|` +
		`vaults/certificates/(?:read|create|import|update|delete|purge|recover|backup|restore)|` +
		`vaults/certificatecontacts/write|vaults/certificatecas/read|` +
		`managedHsm/keys/(?:write|deletedKeys/(?:read|recover|delete))|` +
		`(?:vaults|managedHsm)/keyrotationpolicies/(?:read|write))(?:/action)?)(?:'| on )`)
	policyLacks = regexp.MustCompile(`does not have (secrets (?:get|set|list|delete|purge|recover|backup|restore)|keys (?:(?i)` + keyPermissions + `)|` +
		`certificates (?:(?i)get|list|create|import|update|delete|purge|recover|backup|restore|managecontacts|getissuers|listissuers)) permission`)
	tokenComplaint = regexp.MustCompile(`^(?:AKV|IDX)[0-9]{5}`)
)

const (
	keyActions     = "read|create|import|update|delete|purge|recover|backup|restore|rotate|encrypt|decrypt|wrap|unwrap|sign|verify"
	keyPermissions = "get|list|create|import|update|delete|purge|recover|backup|restore|rotate|getrotationpolicy|setrotationpolicy|" +
		"encrypt|decrypt|wrapKey|unwrapKey|sign|verify"
)

func firstGroup(pattern *regexp.Regexp, text string) string {
	if m := pattern.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

package keyvault

import "strings"

// entraAdvice is what to do about Entra ID's codes, by people who have the
// configuration before them. Only codes whose remedy is known are here.
var entraAdvice = map[string]string{
	"AADSTS7000215": "the client secret is wrong: configure the secret's value, not its id",
	"AADSTS7000222": "the client secret has expired: add a new one to the app registration and configure it",
	"AADSTS7000216": "the application's proof is missing: configure its secret, certificate or token file",
	"AADSTS700027":  "the app registration does not know this certificate: upload its public part there, or configure the one that is registered",
	"AADSTS700024":  "the signed statement is not valid now: set this host's clock; a federated token may have expired",
	"AADSTS50013":   "the signed statement cannot be verified: check the certificate, or the issuer of the federated token",
	"AADSTS700016":  "the tenant does not know this application: check clientId, tenantId and that the authority is of the same cloud",
	"AADSTS7000229": "the application has no service principal in the tenant: create its enterprise application there",
	"AADSTS7000112": "the application is disabled in the tenant: enable its enterprise application",
	"AADSTS90002":   "there is no such tenant in this cloud: check tenantId and authority",
	"AADSTS900023":  "the tenant id is neither a GUID nor a domain name: check tenantId",
	"AADSTS900021":  "the tenant id is neither a GUID nor a domain name: check tenantId",
	"AADSTS70011":   "the scope is not valid there: check that the vault's url and the authority are of one cloud",
	"AADSTS500011":  "the tenant does not know the vault's audience: check that the vault's url and the authority are of one cloud",
	"AADSTS1002012": "the scope is not valid there: check that the vault's url and the authority are of one cloud",
	"AADSTS90038":   "the tenant is of another cloud: check authority",
	"AADSTS900382":  "the application is of another cloud: check authority",
	"AADSTS70021":   "no federated credential of the application matches the token: compare issuer, subject and audience",
	"AADSTS700211":  "no federated credential of the application has the token's issuer: compare it with the cluster's OIDC issuer URL",
	"AADSTS700212":  "no federated credential of the application has the token's audience: it is to be api://AzureADTokenExchange",
	"AADSTS700213":  "no federated credential of the application has the token's subject: it is to be system:serviceaccount:NAMESPACE:NAME",
	"AADSTS50034":   "the tenant does not know this account: log in to the right tenant, or configure tenantId",
	"AADSTS50076":   "the account needs a second factor: run az login again",
	"AADSTS50079":   "the account needs a second factor: run az login again",
	"AADSTS70043":   "the login has expired: run az login again",
	"AADSTS700082":  "the login has expired: run az login again",
	"AADSTS50173":   "the login was revoked: run az login again",
	"AADSTS53003":   "a conditional access policy of the tenant forbids it: ask who keeps it, or use an application or a managed identity",
}

const adviceOnDefault = "set the AZURE_* variables of an application, give this host a managed identity or log in with az; " +
	"better, name one credential in the configuration"

// adviceOnRefusal says what to do about a refusal of a token endpoint.
func adviceOnRefusal(kind credentialKind, refused bool, said tokenRefusal) string {
	for _, code := range said.codes {
		if advice := entraAdvice[code]; advice != "" {
			return advice
		}
	}
	managed := kind == kindManagedIdentity || kind == kindUserAssignedIdentity
	switch {
	case !refused:
		return ""
	case kind == kindUserAssignedIdentity && said.noIdentity:
		return "this identity is not assigned to this host: assign it, or check clientId, objectId or resourceId"
	case kind == kindManagedIdentity && said.noIdentity:
		return "this host has no system-assigned identity: switch it on, or name a user-assigned one"
	case managed:
		return "check that the identity is assigned to this host; on App Service, IDENTITY_HEADER must be the platform's"
	case kind == kindClientCertificate:
		return "check the tenant, the client id and the certificate"
	case kind == kindWorkloadIdentity:
		return "check the tenant, the client id and the application's federated credentials"
	}
	return "check the tenant, the client id and the secret"
}

// adviceUnreached says what to do where no endpoint answers.
func adviceUnreached(kind credentialKind) string {
	if kind == kindManagedIdentity || kind == kindUserAssignedIdentity {
		return "this host seems to have no managed identity endpoint: is it one of Azure's, and may this process reach it?"
	}
	return "check authority, DNS, the way out of this network and HTTPS_PROXY"
}

// adviceOnCLI says what to do about what az said.
func adviceOnCLI(text string) string {
	if code := entraCode.FindString(text); entraAdvice[code] != "" {
		return entraAdvice[code]
	}
	switch {
	case strings.Contains(text, "executable not found"):
		return "the Azure CLI is not on the PATH: install it, or configure another credential"
	case strings.Contains(text, "--claims-challenge"):
		return "the vault asks for more than the login has: run az login again"
	case strings.Contains(text, "az login"):
		return "nobody is logged in: run az login as the user that the broker runs as"
	}
	return "run az account get-access-token as the user that the broker runs as, and see what it says"
}

package main

import "strings"

// leastRoles are the least built-in roles that give a data action, by a part of
// its name: the first that is in it counts.
var leastRoles = []struct{ part, role string }{
	{"/managedHsm/keys/deletedKeys/recover", "Managed HSM Crypto Officer"},
	{"/managedHsm/keys/deletedKeys/delete", "Managed HSM Crypto Officer"},
	{"/managedHsm/", "Managed HSM Crypto User"},
	{"/secrets/getSecret/", "Key Vault Secrets User"},
	{"/secrets/readMetadata/", "Key Vault Secrets User (or, to list and no more, Key Vault Reader)"},
	{"/secrets/", "Key Vault Secrets Officer"},
	{"/keys/read", "Key Vault Crypto User (or, to list and read public keys and no more, Key Vault Reader)"},
	{"/keys/update/", "Key Vault Crypto User"},
	{"/keys/backup/", "Key Vault Crypto User"},
	{"/keys/encrypt/", "Key Vault Crypto User"},
	{"/keys/decrypt/", "Key Vault Crypto User"},
	{"/keys/wrap/", "Key Vault Crypto User"},
	{"/keys/unwrap/", "Key Vault Crypto User"},
	{"/keys/sign/", "Key Vault Crypto User"},
	{"/keys/verify/", "Key Vault Crypto User"},
	{"/key", "Key Vault Crypto Officer"}, // keys/… and keyrotationpolicies/…
	{"/certificates/read", "Key Vault Certificate User (or, to list and read public certificates and no more, Key Vault Reader)"},
	{"/certificate", "Key Vault Certificates Officer"}, // certificatecas/… and certificatecontacts/…, too
}

// roleFor returns the least built-in role that gives a data action.
func roleFor(permission string) string {
	for _, r := range leastRoles {
		if strings.Contains(permission, r.part) {
			return r.role
		}
	}
	return "Key Vault Secrets Officer"
}

// unlessNone is what else can be done about a refusal of keys or certificates.
func unlessNone(permission string) string {
	for _, kind := range []string{"key", "certificate"} {
		if strings.Contains(permission, "/vaults/"+kind) || strings.HasPrefix(permission, kind+"s ") {
			return "; or let no policy permit anything with the vault's " + kind + "s, if it is not for " + kind + "s"
		}
	}
	return ""
}

package brokertest

import (
	"maps"
	"slices"
	"testing"

	"github.com/keyward/keyward/broker"
)

// RunCertificateStore checks that vaults keep the contract of
// broker.CertificateStore. newVault returns a vault with all three stores, and its
// name. What is made is checked with the standard library.
func RunCertificateStore(t *testing.T, newVault func(t *testing.T) (broker.Vault, broker.Name)) {
	t.Helper()
	tests := map[string]func(certFixture){
		"a certificate has the vault's defaults":                               testCertificateDefaults,
		"certificates are as they were asked for":                              testCertificateKinds,
		"subjects are as they were written":                                    testSubjects,
		"policies that no vault takes":                                         testBadPolicies,
		"each create makes a version":                                          testCertificateVersions,
		"a key is used again where the policy says so":                         testReuseKey,
		"a key that is kept in the vault is not used again where it can leave": testReuseKeptKey,
		"what is missing is not found":                                         testMissingCertificate,
		"a list pages through every certificate":                               testListCertificates,

		"a version has its key and its secret":   testCertificatePair,
		"a key does what its usages say":         testKeyOpsOfUsages,
		"a secret is in the format asked for":    testSecretFormats,
		"a managed pair changes with its own":    testManagedPair,
		"a name in use is no certificate's":      testNameInUse,
		"a disabled certificate is not used":     testDisabledCertificate,
		"a policy is as it was given":            testCertificatePolicy,
		"contacts are kept":                      testContacts,
		"issuers that are not there":             testIssuers,
		"imported certificates are as they were": testImportCertificate,
		"a policy is derived from an import":     testImportedPolicy,
		"a chain has its order":                  testChainOrder,
		"unsound certificates are not imported":  testBadCertificates,

		"a signing request becomes a certificate": testMergeCertificate,
		"merges of what was not asked for":        testBadMerges,
		"operations are cancelled and deleted":    testOperations,
		"a deleted certificate is gone":           testDeleteCertificate,
		"what is being made can be deleted":       testDeleteUnfinished,
		"a restored certificate is whole":         testRestoreCertificate,
		"what a vault made is imported again":     testImportOfOwn,
		"concurrent creates make as many":         testConcurrentCertificates,
		"creating while deleting":                 testCreateWhileDeleting,
		"a cancelled call has no effect":          testCancelledCertificate,
		"what is no backup is refused":            testBadCertificateBlobs,
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		t.Run(name, func(t *testing.T) {
			v, vault := newVault(t)
			tests[name](certFixture{T: t, store: v.Certificates, keys: v.Keys, secrets: v.Secrets, vault: vault, unique: uniqueText()})
		})
	}
}

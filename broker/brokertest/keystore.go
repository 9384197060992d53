package brokertest

import (
	"maps"
	"slices"
	"testing"

	"github.com/keyward/keyward/broker"
)

// RunKeyStore checks that stores keep the contract of broker.KeyStore, with RSA
// and elliptic curve keys. newStore is as of RunSecretStore. What a store signs
// and encrypts is checked with the standard library, and the other way round.
func RunKeyStore(t *testing.T, newStore func(t *testing.T) (broker.KeyStore, broker.Name)) {
	t.Helper()
	runKeys(t, newStore, map[string]func(keyFixture){
		"keys are as they were asked for":     testCreateKey,
		"keys that no vault makes":            testBadKeys,
		"each create makes a version":         testKeyVersions,
		"attributes come back":                testKeyAttributes,
		"what is missing is not found":        testMissingKey,
		"names are folded":                    testFoldedKey,
		"an update changes what it names":     testUpdateKey,
		"an update of one version":            testUpdateKeyVersion,
		"a list pages through every key":      testListKeys,
		"versions are newest first":           testKeyVersionsNewestFirst,
		"imported keys are used as they were": testImportKey,
		"unsound keys are not imported":       testBadImports,

		"a deleted key is gone":                testDeleteKey,
		"a deleted key is shown as such":       testDeletedKeyShown,
		"a list pages through deleted keys":    testListDeletedKeys,
		"a recovered key is whole":             testRecoverKey,
		"a purge frees the name":               testPurgeKey,
		"what is not deleted is not found":     testKeyNotDeleted,
		"a restored key is whole":              testRestoreKey,
		"a name in use is not restored over":   testRestoreKeyOver,
		"what is no backup is refused":         testBadKeyBlobs,
		"a cancelled call has no effect":       testCancelledKey,
		"signatures agree with the library's":  testSignatures,
		"ciphertexts agree with the library's": testCiphertexts,
		"signatures that are not good":         testBadSignatures,
		"digests of a wrong length":            testBadDigests,
		"ciphertexts that are not good":        testBadCiphertexts,
		"plaintexts that are too long":         testLongPlaintexts,
		"algorithms that do not fit the key":   testUnfitAlgorithms,
		"a key does what its operations say":   testKeyOps,
		"a disabled key does nothing":          testDisabledKey,
		"a key makes nothing out of its time":  testKeyTimes,
		"a version is used as it is named":     testUseVersion,

		"a rotation makes a like version":       testRotateKey,
		"a rotation policy is as Key Vault's":   testRotationPolicy,
		"rotation policies that no vault takes": testBadRotationPolicies,
		"concurrent creates make as many":       testConcurrentCreates,
		"signing while a key is rotated":        testSignWhileRotating,
		"concurrent restores of one key":        testConcurrentKeyRestores,
		"using a key while it is deleted":       testUseWhileDeleting,
		"updates of a key while it is used":     testUpdateWhileUsing,
		"what may be known of a key is no more": testNoPrivateHalf,
		"a backup restores its own key alone":   testBlobOfAnotherKey,
	})
}

// RunSymmetricKeyStore checks the symmetric keys of a store that has them: a
// Managed HSM.
func RunSymmetricKeyStore(t *testing.T, newStore func(t *testing.T) (broker.KeyStore, broker.Name)) {
	t.Helper()
	runKeys(t, newStore, map[string]func(keyFixture){
		"keys are as they were asked for":         testCreateOct,
		"keys that no vault makes":                testBadOct,
		"GCM agrees with the library's":           testGCM,
		"CBC agrees with the library's":           testCBC,
		"key wrap is undone":                      testKW,
		"HMACs agree with the library's":          testHMAC,
		"symmetric ciphertexts that are not good": testBadSymmetric,
		"inputs that an algorithm does not take":  testBadSymmetricInput,
		"algorithms that do not fit the key":      testUnfitSymmetric,
		"a rotation makes a like version":         testRotateOct,
		"a restored key is whole":                 testRestoreOct,
	})
}

func runKeys(t *testing.T, newStore func(t *testing.T) (broker.KeyStore, broker.Name), tests map[string]func(keyFixture)) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		t.Run(name, func(t *testing.T) {
			store, vault := newStore(t)
			tests[name](keyFixture{T: t, store: store, vault: vault, unique: uniqueText()})
		})
	}
}

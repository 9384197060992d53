package keyvault

import (
	"net/http"

	"github.com/keyward/keyward/broker"
)

// What the client is told where the code's standard words would say too little.
const (
	notABackupOfKey  = "this is no backup of a key that this vault can restore"
	keyPurgeRefused  = "the vault protects deleted keys from being purged; it removes this one when its time is over"
	keyNameInUse     = "a key has this name, or was purged a moment ago; delete and purge it, or try again in a minute"
	importRefused    = "the vault does not import this key; give a whole RSA or EC key as a JSON Web Key, of a size or curve that it has, and operations of its type"
	unfitInput       = "the input does not fit the key: its length, its algorithm, or what it was made with"
	rotationRefused  = "the vault does not take this rotation policy; see the durations and actions that Key Vault allows"
	forbiddenForKey  = "the key may not be used for this, or not at this time; see its key_ops, not_before_time and expire_time"
	vaultLacksThis   = "this vault does not do this with keys"
	keyRequestFields = "the vault refuses one of the request's fields; see the types, sizes, curves and operations that it has"
)

// keyMeanings stand before meanings for calls about keys. What a key was given
// to work on is refused with the same words whatever is wrong with it: how a
// ciphertext is wrong is nobody's business.
var keyMeanings = []meaning{
	{operation: restoreKey, status: http.StatusBadRequest, code: ErrorMalformedBackup, means: broker.CodeBadField, field: "blob", words: notABackupOfKey},
	{operation: restoreKey, status: http.StatusBadRequest, code: ErrorMalformedBackupHSM, means: broker.CodeBadField, field: "blob", words: notABackupOfKey},
	{operation: restoreKey, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, field: "blob", words: notABackupOfKey},
	{operation: importKey, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, field: "jwk", words: importRefused},
	{operation: updatePolicy, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, field: "rotation_policy", words: rotationRefused},
	{operation: encrypt, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, field: "value", words: unfitInput},
	{operation: decrypt, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, field: "value", words: unfitInput},
	{operation: wrapKey, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, field: "value", words: unfitInput},
	{operation: unwrapKey, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, field: "value", words: unfitInput},
	{operation: sign, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, field: "value", words: unfitInput},
	{operation: verify, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, field: "value", words: unfitInput},
	{operation: createKey, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, words: keyRequestFields},
	{status: http.StatusBadRequest, code: ErrorNotSupported, means: broker.CodeNotSupported, words: vaultLacksThis},
	{status: http.StatusForbidden, inner: InnerKeyDisabled, means: broker.CodeKeyDisabled},
	{status: http.StatusForbidden, inner: InnerKeyForbidden, means: broker.CodeKeyOperationForbidden, words: forbiddenForKey},
	// A Managed HSM says it without an inner code.
	{status: http.StatusForbidden, code: InnerKeyForbidden, means: broker.CodeKeyOperationForbidden, words: forbiddenForKey},
	{operation: purgeKey, status: http.StatusForbidden, code: ErrorForbidden, bare: true, means: broker.CodeNotSupported, words: keyPurgeRefused},
	{status: http.StatusNotFound, code: ErrorKeyNotFound, means: broker.CodeKeyNotFound},
	{status: http.StatusConflict, inner: InnerDeleted, means: broker.CodeKeySoftDeleted},
	{status: http.StatusConflict, inner: InnerBeingDeleted, means: broker.CodeKeyInTransition, retry: settling},
	{status: http.StatusConflict, inner: InnerBeingRecovered, means: broker.CodeKeyInTransition, retry: settling},
	{operation: restoreKey, status: http.StatusConflict, code: ErrorConflict, bare: true, means: broker.CodeKeyExists, words: keyNameInUse},
}

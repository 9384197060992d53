package keyvault_test

import (
	"context"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

const (
	kid = "https://v.vault.azure.net/keys/k/" + version
	// The key of RFC 7517, appendix A.1.
	ecPublic = `"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"`
	ecKey    = `"key":{"kid":"` + kid + `",` + ecPublic + `,"key_ops":["sign","verify"]}`
	ecBundle = `{` + ecKey + `,"attributes":{"enabled":true,"created":1680047550,"updated":1680047550}}`
	ecGone   = `{"recoveryId":"https://v.vault.azure.net/deletedkeys/k","deletedDate":1680047550,"scheduledPurgeDate":1687823550,` + ecKey + `}`
	keyList  = `{"value":[{"kid":"` + kid + `","attributes":{"enabled":true}}],"nextLink":null}`
	keyUsed  = `{"kid":"` + kid + `","value":"AAECAwQFBgc"}`
	policyOf = `{"id":"https://v.vault.azure.net/keys/k/rotationpolicy","lifetimeActions":[{"trigger":{"timeBeforeExpiry":"P30D"},"action":{"type":"Notify"}}],"attributes":{"expiryTime":"P90D"}}`
	es256    = `{"kid":"` + kid + `","value":"AAECAwQFBgcICQoLDA0ODwABAgMEBQYHCAkKCwwNDg8AAQIDBAUGBwgJCgsMDQ4PAAECAwQFBgcICQoLDA0ODw"}`

	// What a private key is told by.
	ecPrivate = `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"` + ecScalar + `"}`
	ecScalar  = "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"
)

// again says when a call is tried again.
type again int

const (
	never again = iota
	onceThrottled
	onceFailed
)

// keyCall is a call of the client about a key, and the reply of its success.
type keyCall struct {
	again  again
	status int // 0: 200
	reply  string
	act    func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error)
}

// keyCalls are all there are.
var keyCalls = map[string]keyCall{
	"create": {never, 0, ecBundle, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.CreateKey(ctx, n, broker.NewKey{Type: broker.KeyTypeEC, Enabled: true})
	}},
	"import": {never, 0, ecBundle, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.ImportKey(ctx, n, broker.KeyImport{Material: broker.NewValue(ecPrivate)})
	}},
	"rotate": {never, 0, ecBundle, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.RotateKey(ctx, n)
	}},
	"restore": {never, 0, ecBundle, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.RestoreKey(ctx, n.Vault(), broker.NewValue("blob"))
	}},
	"delete": {onceThrottled, 0, ecGone, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.DeleteKey(ctx, n)
	}},
	"recover": {onceThrottled, 0, ecBundle, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.RecoverKey(ctx, n)
	}},
	"purge": {onceThrottled, 204, "", func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return nil, c.PurgeKey(ctx, n)
	}},
	"get": {onceFailed, 0, ecBundle, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.GetKey(ctx, n)
	}},
	"update": {onceFailed, 0, ecBundle, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.UpdateKey(ctx, n, broker.KeyUpdate{Enabled: new(true)})
	}},
	"list": {onceFailed, 0, keyList, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.ListKeys(ctx, n.Vault(), broker.Page{})
	}},
	"versions": {onceFailed, 0, keyList, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.ListKeyVersions(ctx, n)
	}},
	"get deleted": {onceFailed, 0, ecGone, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.GetDeletedKey(ctx, n)
	}},
	"list deleted": {onceFailed, 0, keyList, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.ListDeletedKeys(ctx, n.Vault(), broker.Page{})
	}},
	"backup": {onceFailed, 0, `{"value":"KUF6dXJl"}`, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.BackupKey(ctx, n)
	}},
	"get policy": {onceFailed, 0, policyOf, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.GetRotationPolicy(ctx, n)
	}},
	"update policy": {onceFailed, 0, policyOf, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.UpdateRotationPolicy(ctx, n, broker.RotationPolicy{ExpiryTime: "P90D"})
	}},
	"encrypt": {onceFailed, 0, keyUsed, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.Encrypt(ctx, n, "RSA-OAEP", broker.Cipher{Data: broker.NewValue("v")})
	}},
	"encrypt with GCM": {onceFailed, 0, `{"alg":"A256GCM","kid":"` + kid + `","value":"AAEC","iv":"AAEC","tag":"AAEC"}`, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.Encrypt(ctx, n, "A256GCM", broker.Cipher{Data: broker.NewValue("v")})
	}},
	"decrypt": {onceFailed, 0, keyUsed, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.Decrypt(ctx, n, "RSA-OAEP", broker.Cipher{Data: broker.NewValue("v")})
	}},
	"wrap": {onceFailed, 0, keyUsed, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.WrapKey(ctx, n, "RSA-OAEP", broker.Cipher{Data: broker.NewValue("v")})
	}},
	"unwrap": {onceFailed, 0, keyUsed, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.UnwrapKey(ctx, n, "RSA-OAEP", broker.Cipher{Data: broker.NewValue("v")})
	}},
	"sign": {onceFailed, 0, es256, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.Sign(ctx, n, "ES256", make([]byte, 32))
	}},
	"verify": {onceFailed, 0, `{"value":true}`, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.Verify(ctx, n, "ES256", make([]byte, 32), make([]byte, 64))
	}},
}

func keyNamed(t testing.TB, object string) broker.Name {
	t.Helper()
	vault, err := broker.VaultName("pay")
	if err != nil {
		t.Fatal(err)
	}
	n, err := vault.Object(broker.KindKeys, object)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// keyTimeout is more than all tries of one call take.
const keyTimeout = 2 * time.Minute

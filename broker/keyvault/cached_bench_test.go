package keyvault_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

// BenchmarkVerify pairs a verification by the local vault, over HTTPS, with one by
// the public key that the cache keeps of it: vault-to-here is how many of the second
// fit into the first. A vault in Azure is a network away, too.
func BenchmarkVerify(b *testing.B) {
	digest := sha256.Sum256([]byte("a message"))
	for alg, k := range map[broker.Algorithm]broker.NewKey{
		"RS256": {Type: broker.KeyTypeRSA, Size: 2048, Enabled: true},
		"ES256": {Type: broker.KeyTypeEC, Enabled: true},
	} {
		b.Run(string(alg), func(b *testing.B) {
			client, vault := localKeys(b, false, true)
			cache := broker.NewKeyCache(client, broker.KeyCacheConfig{TTL: time.Hour, PublicKeys: true})
			n, err := vault.Object(broker.KindKeys, "a")
			if err != nil {
				b.Fatal(err)
			}
			if _, err := client.CreateKey(b.Context(), n, k); err != nil {
				b.Fatal(err)
			}
			signature, err := client.Sign(b.Context(), n, alg, digest[:])
			if err != nil {
				b.Fatal(err)
			}
			verify := func(by broker.KeyStore) time.Duration {
				began := time.Now()
				if v, err := by.Verify(b.Context(), n, alg, digest[:], signature.Value); err != nil || !v.Valid {
					b.Fatalf("%+v, %v", v, err)
				}
				return time.Since(began)
			}
			verify(cache)
			var there, here time.Duration
			for b.Loop() {
				there += verify(client)
				here += verify(cache)
			}
			b.ReportMetric(float64(there.Nanoseconds())/float64(b.N), "ns-vault/op")
			b.ReportMetric(float64(here.Nanoseconds())/float64(b.N), "ns-here/op")
			b.ReportMetric(float64(there)/float64(here), "vault-to-here")
			b.ReportMetric(0, "ns/op")
		})
	}
}

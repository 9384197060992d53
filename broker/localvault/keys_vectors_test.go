package localvault_test

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
)

// A vector is what others' software, or a standard, says of a key. Bytes are
// base64url without padding.
type vector struct {
	Source     string            `json:"source"`
	Algorithm  broker.Algorithm  `json:"alg"`
	Key        map[string]string `json:"key"`
	PEM        string            `json:"pem"`
	Message    raw               `json:"message"`
	Signature  raw               `json:"signature"`
	Bad        bool              `json:"bad"` // the signature is not good
	Plaintext  raw               `json:"plaintext"`
	Ciphertext raw               `json:"ciphertext"`
	IV         raw               `json:"iv"`
	AAD        raw               `json:"aad"`
	Tag        raw               `json:"tag"`
	Wraps      bool              `json:"wraps"`
}

type raw []byte

func (r *raw) UnmarshalText(text []byte) (err error) {
	*r, err = base64.RawURLEncoding.DecodeString(string(text))
	return err
}

func readVectors(t *testing.T) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/key_vectors.json")
	must(t, err)
	var all []vector
	must(t, json.Unmarshal(text, &all))
	if len(all) < 35 {
		t.Fatalf("%d vectors", len(all))
	}
	return all
}

func openHSM(t *testing.T) broker.KeyStore {
	t.Helper()
	c := config(t.TempDir())
	c.ManagedHSM = true
	return open(t, c).Keys()
}

func importKey(t *testing.T, store broker.KeyStore, object string, members map[string]string) broker.Key {
	t.Helper()
	text, err := json.Marshal(members)
	must(t, err)
	k, err := store.ImportKey(t.Context(), keyName(t, object), broker.KeyImport{
		NewKey: broker.NewKey{Enabled: true}, Material: broker.NewValue(string(text)),
	})
	if err != nil {
		t.Fatalf("ImportKey %s: %v", object, err)
	}
	return k
}

func TestKeyVectors(t *testing.T) {
	store := openHSM(t)
	for _, v := range readVectors(t) {
		t.Run(v.Source+" "+string(v.Algorithm), func(t *testing.T) {
			k := importKey(t, store, "vector", v.Key)
			facts, ok := v.Algorithm.Facts()
			if !ok {
				t.Fatalf("%s is not known", v.Algorithm)
			}
			if v.Message != nil {
				checkSignature(t, store, k, v, facts)
			} else {
				checkCiphertext(t, store, k, v)
			}
			if v.PEM != "" {
				public, err := broker.NewPublicKey(k.JWK)
				must(t, err)
				if got, err := public.PEM(); err != nil || got != v.PEM {
					t.Errorf("PEM %s, %v; want %s", got, err, v.PEM)
				}
			}
		})
	}
}

func checkSignature(t *testing.T, store broker.KeyStore, k broker.Key, v vector, facts broker.AlgorithmFacts) {
	t.Helper()
	digest := []byte(v.Message)
	if facts.Type != broker.KeyTypeOct {
		digest = sum(facts.Hash, v.Message)
	}
	verdict, err := store.Verify(t.Context(), k.Name, v.Algorithm, digest, v.Signature)
	if err != nil || verdict.Valid == v.Bad {
		t.Errorf("Verify: %v, %v", verdict.Valid, err)
	}
	digest[0] ^= 1
	if verdict, err = store.Verify(t.Context(), k.Name, v.Algorithm, digest, v.Signature); err != nil || verdict.Valid {
		t.Errorf("Verify of another message: %v, %v", verdict.Valid, err)
	}
	digest[0] ^= 1
	// These are always the same.
	if strings.HasPrefix(string(v.Algorithm), "RS") || strings.HasPrefix(string(v.Algorithm), "HS") {
		s, err := store.Sign(t.Context(), k.Name, v.Algorithm, digest)
		if err != nil || string(s.Value) != string(v.Signature) {
			t.Errorf("Sign gives another signature: %v", err)
		}
	}
}

func sum(h crypto.Hash, message []byte) []byte {
	s := h.New()
	s.Write(message)
	return s.Sum(nil)
}

func checkCiphertext(t *testing.T, store broker.KeyStore, k broker.Key, v vector) {
	t.Helper()
	conceal, opened := store.Encrypt, store.Decrypt
	if v.Wraps {
		conceal, opened = store.WrapKey, store.UnwrapKey
	}
	got, err := opened(t.Context(), k.Name, v.Algorithm, broker.Cipher{
		Data: broker.NewValue(string(v.Ciphertext)), IV: v.IV, AAD: v.AAD, Tag: v.Tag,
	})
	if err != nil || got.Data.Reveal() != string(v.Plaintext) {
		t.Errorf("opening it: %v", err)
	}
	// These are always the same.
	if v.Wraps || strings.HasSuffix(string(v.Algorithm), "CBC") {
		got, err := conceal(t.Context(), k.Name, v.Algorithm, broker.Cipher{Data: broker.NewValue(string(v.Plaintext)), IV: v.IV})
		if err != nil || got.Data.Reveal() != string(v.Ciphertext) {
			t.Errorf("making it gives another: %v", err)
		}
	}
}

// The keys of RFC 7517's appendix A.
func TestKeysOfRFC7517(t *testing.T) {
	store := open(t, config(t.TempDir())).Keys()
	k := importKey(t, store, "a-2", map[string]string{
		"kty": "EC", "crv": "P-256", "use": "enc", "kid": "1",
		"x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
		"y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
		"d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
	})
	if _, err := broker.NewPublicKey(k.JWK); err != nil {
		t.Error(err)
	}
}

// Key Vault takes private numbers with a zero byte before them, which RFC 7518
// forbids: its own SDK's tests send them.
func TestImportOfLedNumbers(t *testing.T) {
	var members map[string]string
	for _, v := range readVectors(t) {
		if v.Algorithm == "RS256" {
			members = v.Key
		}
	}
	for _, name := range []string{"p", "q", "dp", "dq", "qi"} {
		b, err := base64.RawURLEncoding.DecodeString(members[name])
		must(t, err)
		members[name] = base64.RawURLEncoding.EncodeToString(append([]byte{0}, b...))
	}
	importKey(t, open(t, config(t.TempDir())).Keys(), "led", members)
}

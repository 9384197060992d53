package localvault_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/localvault"
)

// TestKeyCrashWriter is the process that TestKilledKeys ends: it makes and
// rotates keys, and says what it was told and what each version signed.
func TestKeyCrashWriter(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("run by TestKilledKeys")
	}
	store := open(t, config(dir)).Keys()
	for i := 0; ; i++ {
		name := keyName(t, fmt.Sprint("key-", i%5))
		k, err := store.RotateKey(t.Context(), name)
		if broker.CodeOf(err) == broker.CodeKeyNotFound {
			k, err = store.CreateKey(t.Context(), name, broker.NewKey{Type: broker.KeyTypeEC, Enabled: true})
		}
		must(t, err)
		s, err := store.Sign(t.Context(), k.Name, "ES256", make([]byte, 32))
		must(t, err)
		_, _ = fmt.Fprintln(os.Stdout, "made", k.Name, base64.RawURLEncoding.EncodeToString(s.Value))
	}
}

// Whenever a writer is killed, every version that it was told of is there, with
// the key that signed.
func TestKilledKeys(t *testing.T) {
	dir := t.TempDir()
	signatures := make(map[broker.Name][]byte)
	for _, enough := range []int{1, 7, 40} {
		for _, line := range runAndKill(t, "TestKeyCrashWriter", dir, enough) {
			parts := strings.Fields(line)
			if len(parts) != 3 {
				t.Fatalf("the writer said %q", line)
			}
			name, err := broker.ParseName(broker.KindKeys, parts[1])
			must(t, err)
			signatures[name], err = base64.RawURLEncoding.DecodeString(parts[2])
			must(t, err)
		}
		v := open(t, config(dir))
		checkKilled(t, v, signatures)
		must(t, v.Close())
	}
}

func checkKilled(t *testing.T, v *localvault.Vault, signatures map[broker.Name][]byte) {
	t.Helper()
	listed := make(map[broker.Name]bool)
	for i := range 5 {
		all, err := v.Keys().ListKeyVersions(t.Context(), keyName(t, fmt.Sprint("key-", i)))
		if err != nil && broker.CodeOf(err) != broker.CodeKeyNotFound {
			t.Fatal(err)
		}
		for _, k := range all {
			listed[k.Name] = true
			// No version is there by half.
			s, err := v.Keys().Sign(t.Context(), k.Name, "ES256", make([]byte, 32))
			if err != nil || s.Key != k.Name {
				t.Errorf("%v does not sign: %v", k.Name, err)
			}
		}
	}
	for name, signature := range signatures {
		got, err := v.Keys().Verify(t.Context(), name, "ES256", make([]byte, 32), signature)
		if err != nil || !got.Valid || !listed[name] {
			t.Errorf("%v, listed %v: its signature is good: %v, %v", name, listed[name], got.Valid, err)
		}
	}
}

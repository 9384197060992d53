package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// cache.publicKeys is what decides who verifies: the record says so, and the
// reply names the version, which Key Vault's does not.
func TestServeUsesPublicKeysIfToldTo(t *testing.T) {
	for section, want := range map[string][]any{
		"cache: {publicKeys: true}\n": {true, true, true},
		"":                            {false, false, false},
	} {
		address := freePort(t)
		dir, file := serveDir(t, address)
		p := &process{t: t, dir: dir}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for path, content := range map[string]string{
			file:                   string(text) + section,
			p.file("context.json"): `{"grpc":"` + address + `","ca":"ca.pem","certificate":"admin.pem","key":"admin-key.pem","vault":"edge"}`,
		} {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		stderr, done := &safeBuffer{}, make(chan int, 1)
		go func() { done <- run(ctx, []string{"serve", "--config", file}, os.Getenv, nil, &bytes.Buffer{}, stderr) }()
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(p.tls())))
		if err != nil {
			t.Fatal(err)
		}
		c := keywardv1.NewKeyServiceClient(conn)
		name := "vaults/edge/keys/a"
		if _, err := c.CreateKey(ctx, &keywardv1.CreateKeyRequest{Name: name, Kty: "EC"}, grpc.WaitForReady(true)); err != nil {
			t.Fatal(err, stderr)
		}
		digest := sha256.Sum256([]byte("a message"))
		s, err := c.Sign(ctx, &keywardv1.SignRequest{Name: name, Algorithm: "ES256", Digest: digest[:]})
		if err != nil {
			t.Fatal(err)
		}
		for range want {
			v, err := c.Verify(ctx, &keywardv1.VerifyRequest{Name: name, Algorithm: "ES256", Digest: digest[:], Signature: s.GetSignature()})
			if err != nil || !v.GetValid() || strings.Contains(v.GetKeyVersion(), "/versions/") != (section != "") {
				t.Errorf("%q: %v, %v", section, v, err)
			}
		}
		conn.Close()
		cancel()
		if rc := <-done; rc != exitOK {
			t.Fatalf("exit code %d\n%s", rc, stderr)
		}
		var cached []any
		for _, e := range p.audit() {
			if e["action"] == "verifyKey" {
				cached = append(cached, e["cached"])
			}
		}
		if !slices.Equal(cached, want) {
			t.Errorf("%q: recorded as cached %v, want %v", section, cached, want)
		}
	}
}

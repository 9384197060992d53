package authn_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/service/authn"
)

// fuzzKey is the same in every process, so that what was found in one is found
// again in another.
func fuzzKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

// fuzzJWT returns an authenticator of the tokens that fuzzKey(1) signs.
func fuzzJWT(f *testing.F) authn.Authenticator {
	f.Helper()
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: fuzzKey(1).Public(), KeyID: "ed"}}})
	if err != nil {
		f.Fatal(err)
	}
	file := filepath.Join(f.TempDir(), "keys.json")
	if err := os.WriteFile(file, jwks, 0o600); err != nil {
		f.Fatal(err)
	}
	a, err := authn.NewJWT(authn.JWTConfig{Issuers: []authn.Issuer{{
		Name: "kube", Issuer: iss, Audiences: []string{aud, "too"}, GroupsClaim: "groups", Algorithms: []string{"EdDSA", "ES256", "RS256"}, JWKSFile: file,
	}}})
	if err != nil {
		f.Fatal(err)
	}
	return a
}

const (
	fuzzHeader = `{"alg":"EdDSA","kid":"ed"}`
	fuzzClaims = `{"iss":"https://issuer.example","aud":"keyward","sub":"billing","exp":4102444800}` // the year 2100
)

func signed(key ed25519.PrivateKey, header, claims string) string {
	input := b64([]byte(header)) + "." + b64([]byte(claims))
	return input + "." + b64(ed25519.Sign(key, []byte(input)))
}

// FuzzAuthorization: of all that an Authorization header can say, what is
// accepted is one of the tokens that the issuer signed, to the byte.
func FuzzAuthorization(f *testing.F) {
	a := fuzzJWT(f)
	good := []string{
		signed(fuzzKey(1), fuzzHeader, fuzzClaims),
		signed(fuzzKey(1), `{"alg":"EdDSA"}`, `{"iss":"https://issuer.example","aud":["x","too"],"sub":"a b","exp":4102444800,"groups":["g"]}`),
	}
	for _, token := range append(slices.Clone(good), signed(fuzzKey(2), fuzzHeader, fuzzClaims)) {
		f.Add("Bearer " + token)
		f.Add("bearer  " + token)
		f.Add("Bearer " + token + "=")
		f.Add("Bearer " + token + " ")
		f.Add("Bearer " + token[:len(token)-4])
		f.Add("Basic " + token)
		f.Add("Bearer " + strings.Replace(token, ".", "\n.", 1))
		f.Add(`Bearer {"protected":"` + strings.Replace(strings.Replace(token, ".", `","payload":"`, 1), ".", `","signature":"`, 1) + `"}`)
	}
	f.Add("Bearer")
	f.Add("Bearer .." + strings.Repeat("A", 1<<10))
	f.Fuzz(func(t *testing.T, header string) {
		p, err := a.Authenticate(t.Context(), authn.Credentials{Authorization: []string{header}})
		scheme, token, _ := strings.Cut(header, " ")
		want := strings.EqualFold(scheme, "Bearer") && slices.Contains(good, strings.TrimLeft(token, " "))
		if accepted := err == nil; accepted != want {
			t.Fatalf("accepted: %v, want %v: %v", accepted, want, err)
		}
		if err != nil {
			wantRefusal(t, p, err, header)
		}
	})
}

// wantRefusal wants an error to name nobody, and to quote nothing of what was sent.
func wantRefusal(t *testing.T, p broker.Principal, err error, sent string) {
	t.Helper()
	if p.ID != "" || len(p.Groups)+len(p.Attributes) > 0 {
		t.Errorf("%+v beside %v", p, err)
	}
	if c := broker.CodeOf(err); c != broker.CodeBadCredentials && c != broker.CodeNoCredentials {
		t.Errorf("%v", err)
	}
	for part := range strings.FieldsFuncSeq(sent, func(r rune) bool { return strings.ContainsRune(" .", r) }) {
		if len(part) >= 24 && strings.Contains(err.Error(), part) {
			t.Errorf("the error quotes the token: %v", err)
		}
	}
}

// FuzzToken: whoever signs whatever header and claims, a token is accepted where
// the issuer's own key made its signature and a second reading of it, by
// encoding/json, finds all that is wanted; and names the principal found there.
func FuzzToken(f *testing.F) {
	a := fuzzJWT(f)
	for by := range uint8(6) {
		f.Add(by, fuzzHeader, fuzzClaims, "", "")
	}
	for _, alg := range []string{"none", "HS256", "ES256", "EdDSA ", "eddsa", ""} {
		f.Add(uint8(2), `{"alg":"`+alg+`","kid":"ed"}`, fuzzClaims, "", "")
	}
	for _, header := range []string{
		`{"alg":"EdDSA","alg":"none"}`, `{"alg":"EdDSA","crit":["exp"],"exp":1}`, `{"alg":"EdDSA","b64":false}`,
		`{"alg":"EdDSA","jku":"https://foe.example"}`, `{"alg":"EdDSA","kid":"nobody"}`, `["EdDSA"]`, `{"ALG":"EdDSA"}`,
	} {
		f.Add(uint8(0), header, fuzzClaims, "", "")
	}
	for _, claims := range []string{
		`{"iss":"https://issuer.example","aud":["x","too"],"sub":"billing","exp":4102444800,"nbf":1.5,"groups":["a","b"]}`,
		`{"iss":"https://issuer.example","aud":"other","sub":"billing","exp":4102444800}`,
		`{"iss":"https://issuer.example","sub":"billing","exp":4102444800}`,
		`{"iss":"https://issuer.example","aud":"keyward","sub":"billing"}`,
		`{"iss":"https://issuer.example","aud":"keyward","sub":"billing","exp":1}`,
		`{"iss":"https://issuer.example","aud":"keyward","sub":"billing","exp":"4102444800"}`,
		`{"iss":"https://issuer.example","aud":"keyward","sub":"billing","exp":4102444800,"nbf":4102444800}`,
		`{"iss":"https://issuer.example","aud":"keyward","sub":"billing","exp":1e99}`,
		`{"iss":"https://issuer.example","aud":"keyward","sub":"a","sub":"b","exp":4102444800}`,
		`{"ISS":"https://issuer.example","aud":"keyward","sub":"billing","exp":4102444800}`,
		`{"iss":"https://issuer.example/","aud":"keyward","sub":"billing","exp":4102444800}`,
		`{"iss":"https://issuer.example","aud":"keyward","sub":"a\u0000b\ud800","exp":4102444800}`,
		`{"iss":"https://issuer.example","aud":"keyward","sub":"` + strings.Repeat("s", 513) + `","exp":4102444800}`,
	} {
		f.Add(uint8(0), fuzzHeader, claims, "", "")
	}
	f.Fuzz(func(t *testing.T, by uint8, header, claims, before, after string) {
		input := b64([]byte(header)) + "." + b64([]byte(claims))
		var sig []byte
		switch by % 6 {
		case 0: // the issuer
			sig = ed25519.Sign(fuzzKey(1), []byte(input))
		case 1: // somebody else
			sig = ed25519.Sign(fuzzKey(2), []byte(input))
		case 2: // what is public, taken for a shared secret
			mac := hmac.New(sha256.New, fuzzKey(1).Public().(ed25519.PublicKey))
			mac.Write([]byte(input))
			sig = mac.Sum(nil)
		case 3: // nobody
		case 4: // the issuer, for another text
			sig = ed25519.Sign(fuzzKey(1), []byte(before+input+after))
		case 5: // whoever
			sig = []byte(before + after)
		}
		p, err := a.Authenticate(t.Context(), bearer(input+"."+b64(sig)))
		if err != nil {
			wantRefusal(t, p, err, input)
			if by%6 == 0 && header == fuzzHeader && claims == fuzzClaims {
				t.Errorf("a good token: %v", err)
			}
			return
		}
		if !ed25519.Verify(fuzzKey(1).Public().(ed25519.PublicKey), []byte(input), sig) {
			t.Fatalf("accepted, and not signed by the issuer: %s", header)
		}
		wantHeader(t, header)
		wantClaims(t, claims, p)
	})
}

func wantHeader(t *testing.T, text string) {
	t.Helper()
	var h map[string]any
	if err := json.Unmarshal([]byte(text), &h); err != nil || h["alg"] != "EdDSA" || h["crit"] != nil || h["b64"] != nil {
		t.Errorf("accepted with the header %s", text)
	}
	if kid, ok := h["kid"]; ok && kid != "" && kid != "ed" {
		t.Errorf("accepted with the key id %v", kid)
	}
}

func wantClaims(t *testing.T, text string, p broker.Principal) {
	t.Helper()
	var c map[string]any
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatalf("accepted with the claims %s", text)
	}
	aud, _ := c["aud"].([]any)
	if one, ok := c["aud"].(string); ok {
		aud = []any{one}
	}
	exp, _ := c["exp"].(float64)
	nbf, _ := c["nbf"].(float64)
	iat, _ := c["iat"].(float64)
	ahead := float64(time.Now().Add(time.Minute + time.Second).Unix())
	if c["iss"] != iss || !slices.Contains(aud, any("keyward")) && !slices.Contains(aud, any("too")) || exp < float64(time.Now().Unix()) || nbf > ahead || iat > ahead {
		t.Errorf("accepted with the claims %s", text)
	}
	var groups []string
	switch g := c["groups"].(type) {
	case string:
		groups = []string{"kube/" + g}
	case []any:
		for _, e := range g {
			name, _ := e.(string)
			groups = append(groups, "kube/"+name)
		}
	}
	sub, _ := c["sub"].(string)
	if p.ID != "kube/"+sub || sub == "" || len(sub) > 512 || strings.ContainsAny(sub, "\x00\n\r\ufffd") || !slices.Equal(p.Groups, groups) {
		t.Errorf("%s names %+v", text, p)
	}
}

// spiffeText is the standard's grammar, for the trust domain example.org.
var spiffeText = regexp.MustCompile(`^(?i:spiffe://example\.org)((?:/[a-zA-Z0-9._-]+)+)$`)

// FuzzCertificate: whatever names and usages a CA signs, a certificate names a
// principal exactly where a second reading of its bytes finds one URI, a SPIFFE
// ID of the trust domain, or where there is no URI one DNS name below a domain;
// and names that.
func FuzzCertificate(f *testing.F) {
	key := fuzzKey(3)
	m, err := authn.NewMTLS(authn.MTLSConfig{TrustDomain: "example.org", DNS: authn.DNSConfig{Name: "mesh", Domains: []string{"svc.example.org"}}})
	if err != nil {
		f.Fatal(err)
	}
	const (
		email, dns, uri, ip = 1, 2, 6, 7 // the tags of RFC 5280
		digital             = uint16(x509.KeyUsageDigitalSignature)
	)
	names := func(of ...any) (san []byte) {
		for i := 0; i < len(of); i += 2 {
			der, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: of[i].(int), Bytes: []byte(of[i+1].(string))})
			if err != nil {
				f.Fatal(err)
			}
			san = append(san, der...)
		}
		return san
	}
	for _, san := range [][]byte{
		names(uri, "spiffe://example.org/billing"),
		names(uri, "SPIFFE://Example.ORG/ns/Pay/sa/x_1.y-2", dns, "a.svc.example.org"),
		names(uri, "spiffe://example.org/a", uri, "spiffe://example.org/b"),
		names(uri, "spiffe://example.org/a", uri, "https://example.org/a"),
		names(uri, "spiffe://example.org.foe/a"), names(uri, "spiffe://example.org"), names(uri, "spiffe://example.org/"),
		names(uri, "spiffe://example.org/a?"), names(uri, "spiffe://example.org/a#"), names(uri, "spiffe://example.org/a#b"), names(uri, "spiffe://@example.org/a"),
		names(uri, "spiffe://example.org:1/a"), names(uri, "spiffe://example.org/a/../b"), names(uri, "spiffe://example.org/a//b"),
		names(uri, "spiffe://example.org/%61"), names(uri, "spiffe:example.org/a"), names(uri, "spiffe://example.org/"+strings.Repeat("a", 2048)),
		names(dns, "Billing.svc.example.org"), names(dns, "*.svc.example.org"), names(dns, "svc.example.org"), names(dns, "a.svc.example.org", dns, "b.svc.example.org"),
		names(dns, "a.svc.example.org."), names(dns, "asvc.example.org"), names(email, "a@svc.example.org"), names(ip, "\x7f\x00\x00\x01"), nil,
	} {
		f.Add(san, digital, uint8(1), false, "spiffe://example.org/admin")
	}
	for _, usage := range []uint16{0, digital, uint16(x509.KeyUsageCertSign), digital | uint16(x509.KeyUsageCRLSign), uint16(x509.KeyUsageKeyEncipherment)} {
		for extended := range uint8(4) {
			f.Add(names(uri, "spiffe://example.org/billing"), usage, extended, usage == 0, "")
		}
	}
	f.Fuzz(func(t *testing.T, san []byte, usage uint16, extended uint8, ca bool, cn string) {
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn},
			NotBefore: time.Unix(0, 0), NotAfter: time.Unix(4102444800, 0),
			KeyUsage: x509.KeyUsage(usage & 0x1ff), BasicConstraintsValid: ca, IsCA: ca,
		}
		tmpl.ExtKeyUsage = [][]x509.ExtKeyUsage{{}, {x509.ExtKeyUsageClientAuth}, {x509.ExtKeyUsageServerAuth}, {x509.ExtKeyUsageAny}}[extended%4]
		if len(san) > 0 {
			value, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagSequence, IsCompound: true, Bytes: san})
			if err != nil {
				t.Skip()
			}
			tmpl.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}}
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
		if err != nil {
			t.Skip()
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Skip() // it would not pass the handshake
		}
		state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
		p, err := m.Authenticate(t.Context(), authn.Credentials{TLS: state})

		want := ""
		digitally, signs := tmpl.KeyUsage&x509.KeyUsageDigitalSignature != 0, tmpl.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0
		if !ca && !signs && (digitally || tmpl.KeyUsage == 0) && extended%4 != 2 {
			want = principalOf(t, san, uri, dns)
		}
		if p.ID != want || (err == nil) != (want != "") {
			t.Errorf("%q names %q, %v; want %q", san, p.ID, err, want)
		}
		if err != nil && broker.CodeOf(err) != broker.CodeBadCredentials {
			t.Errorf("%v", err)
		}
	})
}

// principalOf reads the names of a certificate once more, byte by byte.
func principalOf(t *testing.T, san []byte, uri, dns int) string {
	t.Helper()
	var uris, hosts []string
	for rest := san; len(rest) > 0; {
		var v asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &v); err != nil {
			t.Fatalf("crypto/x509 read what encoding/asn1 cannot: %q", san)
		}
		switch {
		case v.Class != asn1.ClassContextSpecific:
		case v.Tag == uri:
			uris = append(uris, string(v.Bytes))
		case v.Tag == dns:
			hosts = append(hosts, strings.ToLower(string(v.Bytes)))
		}
	}
	switch {
	case len(uris) == 1:
		parts := spiffeText.FindStringSubmatch(uris[0])
		if parts == nil || len(uris[0]) > 2048 || slices.ContainsFunc(strings.Split(parts[1], "/"), func(s string) bool { return s == "." || s == ".." }) {
			return ""
		}
		return "spiffe://example.org" + parts[1]
	case len(uris) == 0 && len(hosts) == 1:
		if len(hosts[0]) <= 253 && dnsText.MatchString(hosts[0]) {
			return "mesh/" + hosts[0]
		}
	}
	return ""
}

var dnsText = regexp.MustCompile(`^([a-z0-9_-]{1,63}\.)+svc\.example\.org$`)

package authn_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/service/authn"
)

// corpus is a broker's issuers, and what their enemies send.
type corpus struct {
	issuers []authn.Issuer
	good    map[string]string // a token of each issuer, by its name
	hostile map[string]string // by what is wrong with it
	home    *provider         // of the issuer "oidc", which is found by discovery
	trap    *atomic.Int32     // connections to where hostile headers point
}

func newCorpus(t *testing.T) *corpus {
	t.Helper()
	s, foe := newSigner(t), newSigner(t)
	c := &corpus{good: map[string]string{}, hostile: map[string]string{}, home: newProvider(t, s)}
	var trap string
	trap, c.trap = newTrap(t)
	keys := func(name string, s signer) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, s.jwks(t), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	own, foreign := keys("own.json", s), keys("foreign.json", foe)
	c.issuers = []authn.Issuer{
		{Name: "oidc", Issuer: c.home.URL, Audiences: []string{aud, "keyward-too"}, GroupsClaim: "groups", RootCAs: c.home.roots()},
		// The foe is an issuer in its own right.
		{Name: "foe", Issuer: "https://foe.example", Audiences: []string{aud}, JWKSFile: foreign},
		{Name: "kube", Preset: authn.PresetKubernetes, Issuer: "https://kube.example", Audiences: []string{aud}, JWKSFile: own},
		{Name: "azure", Preset: authn.PresetEntra, TenantID: tenant, Audiences: []string{aud}, JWKSFile: own},
		{Name: "gh", Preset: authn.PresetGitHub, Owners: []string{"Octo-Org", "sky-org"}, Audiences: []string{aud}, JWKSFile: own},
		{Name: "split", Issuer: "https://split.example", Subject: "{team}/{job}", Audiences: []string{aud}, JWKSFile: own},
	}
	c.good["oidc"] = s.sign(t, "ES256", es256, claims(t, map[string]any{"iss": c.home.URL}))
	c.good["foe"] = foe.sign(t, "ES256", es256, claims(t, map[string]any{"iss": "https://foe.example"}))
	c.headers(t, s, foe, trap)
	c.forged(t, s, foe)
	c.claims(t, s)
	c.shapes(t, s)
	c.kinds(t, s)
	return c
}

// newTrap listens where nobody should ever call.
func newTrap(t *testing.T) (address string, calls *atomic.Int32) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	calls = &atomic.Int32{}
	server := &http.Server{
		ReadHeaderTimeout: time.Second,
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				calls.Add(1)
			}
		},
	}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close() })
	return "http://" + ln.Addr().String(), calls
}

func (c *corpus) add(t *testing.T, name, token string) {
	t.Helper()
	if c.hostile[name] != "" {
		t.Fatalf("two cases are called %q", name)
	}
	c.hostile[name] = token
}

// oidc are the good claims of the issuer oidc, with changes.
func (c *corpus) oidc(t *testing.T, changes map[string]any) string {
	t.Helper()
	all := map[string]any{"iss": c.home.URL}
	maps.Copy(all, changes)
	return claims(t, all)
}

// headers are signed by a key of the issuer's, or by the foe's where the header
// says where to find that.
func (c *corpus) headers(t *testing.T, s, foe signer, trap string) {
	good := c.oidc(t, nil)
	raw := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, kid := range map[string]any{
		"unknown":          "nobody",
		"a path":           "../../../../dev/null",
		"a file URL":       "file:///etc/passwd",
		"a URL":            trap + "/keys",
		"SQL":              "x' UNION SELECT 'secret' --",
		"a shell command":  "ec;curl " + trap,
		"1 KiB":            strings.Repeat("k", 1<<10),
		"with NUL":         "ec\x00",
		"a list":           []string{"ec"},
		"a number":         7,
		"an RSA key":       "rsa",
		"of other case":    "EC",
		"with white space": " ec",
	} {
		c.add(t, "kid: "+name, s.sign(t, "ES256", `{"alg":"ES256","kid":`+raw(kid)+`}`, good))
	}
	for name, more := range map[string]string{
		"jku":           `"kid":"ec","jku":` + raw(trap+"/keys"),
		"jku, no kid":   `"jku":` + raw(trap+"/keys"),
		"x5u":           `"kid":"ec","x5u":` + raw(trap+"/cert.pem"),
		"x5c":           `"kid":"ec","x5c":["` + selfSigned(t, foe) + `"]`,
		"x5t":           `"kid":"ec","x5t":"AAAA","x5t#S256":"AAAA"`,
		"jwk":           `"jwk":` + raw(jose.JSONWebKey{Key: &foe.ec.PublicKey, KeyID: "ec"}),
		"jwk and kid":   `"kid":"ec","jwk":` + raw(jose.JSONWebKey{Key: &foe.ec.PublicKey, KeyID: "ec"}),
		"all of them":   `"kid":"ec","jku":` + raw(trap) + `,"x5u":` + raw(trap) + `,"jwk":` + raw(jose.JSONWebKey{Key: &foe.ec.PublicKey}),
		"iss in header": `"kid":"ec","iss":` + raw("https://foe.example"),
	} {
		c.add(t, "header of the foe: "+name, foe.sign(t, "ES256", `{"alg":"ES256",`+more+`}`, good))
	}
	for name, header := range map[string]string{
		"no alg":                     `{"kid":"ec"}`,
		"alg is null":                `{"alg":null,"kid":"ec"}`,
		"alg is a list":              `{"alg":["ES256"],"kid":"ec"}`,
		"alg in other case":          `{"alg":"es256","kid":"ec"}`,
		"alg twice":                  `{"alg":"none","alg":"ES256","kid":"ec"}`,
		"kid twice":                  `{"alg":"ES256","kid":"nobody","kid":"ec"}`,
		"alg of another kind of key": `{"alg":"RS256","kid":"ec"}`,
		"alg of another curve":       `{"alg":"ES384","kid":"ec"}`,
		"crit":                       `{"alg":"ES256","kid":"ec","crit":["exp"],"exp":1}`,
		"crit, empty":                `{"alg":"ES256","kid":"ec","crit":[]}`,
		"crit of what is unknown":    `{"alg":"ES256","kid":"ec","crit":["http://x/y"],"http://x/y":1}`,
		"b64 false":                  `{"alg":"ES256","kid":"ec","crit":["b64"],"b64":false}`,
		"b64 true":                   `{"alg":"ES256","kid":"ec","b64":true}`,
		"a header of another's JWE":  `{"alg":"RSA-OAEP","enc":"A256GCM","kid":"rsa"}`,
		"a header that is a list":    `["ES256"]`,
		"a header that is no JSON":   `alg=ES256`,
	} {
		c.add(t, "header: "+name, s.sign(t, "ES256", header, good))
	}
	// The payload is in base64, though the header says that it is not.
	input := b64([]byte(`{"alg":"ES256","kid":"ec","b64":false}`)) + "." + b64([]byte(good))
	c.add(t, "header: b64 false, the payload encoded", input+"."+b64(ecSignature(t, s.ec, input)))
}

// forged have a signature that nobody with the issuer's key made.
func (c *corpus) forged(t *testing.T, s, foe signer) {
	good := c.oidc(t, nil)
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "none ", ""} {
		header := `{"alg":"` + alg + `","kid":"ec"}`
		c.add(t, "alg none, spelt "+alg, s.sign(t, "none", header, good))
	}
	c.add(t, "alg none, with a signature", s.sign(t, "ES256", `{"alg":"none","kid":"ec"}`, good))

	// The classic confusion: what is public, as a shared secret.
	der, err := x509.MarshalPKIXPublicKey(&s.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(jose.JSONWebKey{Key: &s.rsa.PublicKey, KeyID: "rsa"})
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string][]byte{
		"PEM":                 pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"DER":                 der,
		"PKCS 1":              x509.MarshalPKCS1PublicKey(&s.rsa.PublicKey),
		"a JWK":               jwk,
		"the key set":         s.jwks(t),
		"the modulus":         s.rsa.N.Bytes(),
		"nothing":             {},
		"the set's oct key":   []byte("secret"),
		"the name of the key": []byte("rsa"),
	} {
		for _, kid := range []string{"rsa", "oct"} {
			input := b64([]byte(`{"alg":"HS256","kid":"`+kid+`"}`)) + "." + b64([]byte(good))
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(input))
			c.add(t, "HS256 by "+name+", kid "+kid, input+"."+b64(mac.Sum(nil)))
		}
	}

	input := b64([]byte(es256)) + "." + b64([]byte(good))
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(input))
	asn1, err := ecdsa.SignASN1(rand.Reader, s.ec, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	n := elliptic.P256().Params().N.Bytes()
	for name, signature := range map[string][]byte{
		"r and s are zero":        make([]byte, 64),
		"r and s are the order":   append(append([]byte{}, n...), n...),
		"r is zero":               append(make([]byte, 32), ecSignature(t, s.ec, input)[32:]...),
		"all ones":                []byte(strings.Repeat("\xff", 64)),
		"nothing":                 {},
		"one byte":                {0},
		"63 bytes":                ecSignature(t, s.ec, input)[:63],
		"65 bytes":                append(ecSignature(t, s.ec, input), 0),
		"ASN.1":                   asn1,
		"another curve":           ecSignature(t, p384, input),
		"the foe's":               ecSignature(t, foe.ec, input),
		"of another token":        ecSignature(t, s.ec, input+"x"),
		"an RSA key's":            rsaSignature(t, s.rsa, input),
		"of the header's absence": ecSignature(t, s.ec, b64([]byte(good))),
	} {
		c.add(t, "signature: "+name, input+"."+b64(signature))
	}
	c.add(t, "an RSA key of 1024 bits", s.sign(t, "weak", `{"alg":"RS256","kid":"weak"}`, good))
	c.add(t, "an algorithm that is not configured", s.sign(t, "PS256", `{"alg":"PS256","kid":"rsa"}`, good))
	c.add(t, "the foe's key under oidc's name", foe.sign(t, "ES256", es256, good))
	c.add(t, "oidc's key under the foe's name", s.sign(t, "ES256", es256, claims(t, map[string]any{"iss": "https://foe.example"})))
}

// claims are all signed by the issuer's key.
func (c *corpus) claims(t *testing.T, s signer) {
	now := time.Now()
	for name, changes := range map[string]map[string]any{
		"iss missing":                  {"iss": nil},
		"iss empty":                    {"iss": ""},
		"iss with a slash":             {"iss": c.home.URL + "/"},
		"iss in other case":            {"iss": strings.ToUpper(c.home.URL)},
		"iss of nobody":                {"iss": "https://nobody.example"},
		"iss is a list":                {"iss": []string{c.home.URL}},
		"iss is our name for it":       {"iss": "oidc"},
		"aud missing":                  {"aud": nil},
		"aud empty":                    {"aud": ""},
		"aud of another":               {"aud": "other"},
		"aud in other case":            {"aud": "Keyward"},
		"aud begins with ours":         {"aud": "keyward other"},
		"aud list without ours":        {"aud": []string{"other", "keyward2"}},
		"aud list, empty":              {"aud": []string{}},
		"aud list, nested":             {"aud": []any{[]string{aud}}},
		"aud is an object":             {"aud": map[string]any{aud: true}},
		"aud is a number":              {"aud": 1},
		"exp missing":                  {"exp": nil},
		"exp is text":                  {"exp": "9999999999"},
		"exp is negative":              {"exp": -1},
		"exp is zero":                  {"exp": 0},
		"exp is over":                  {"exp": now.Add(-time.Second).Unix()},
		"exp is a list":                {"exp": []int64{now.Add(time.Hour).Unix()}},
		"exp is true":                  {"exp": true},
		"nbf in the future":            {"nbf": now.Add(time.Hour).Unix()},
		"iat in the future":            {"iat": now.Add(1000 * time.Hour).Unix()},
		"sub missing":                  {"sub": nil},
		"sub empty":                    {"sub": ""},
		"sub is a number":              {"sub": 7},
		"sub is a list":                {"sub": []string{"billing"}},
		"sub with a line break":        {"sub": "billing\n"},
		"sub with NUL":                 {"sub": "billing\x00"},
		"sub turns right to left":      {"sub": "\u202egnillib"},
		"sub with a space of no width": {"sub": "bill\u200bing"},
		"sub with a mark of no byte":   {"sub": "\ufffd"},
		"sub of 513 bytes":             {"sub": strings.Repeat("a", 513)},
		"groups is an object":          {"groups": map[string]any{"pay": true}},
		"a group is a number":          {"groups": []any{"pay", 1}},
		"a group is empty":             {"groups": []any{""}},
		"a group within a group":       {"groups": []any{[]string{"pay"}}},
		"1 MiB":                        {"x": strings.Repeat("a", 1<<20)},
	} {
		c.add(t, "claims: "+name, s.sign(t, "ES256", es256, c.oidc(t, changes)))
	}
	good := c.oidc(t, nil)
	for name, text := range map[string]string{
		"iss twice":            `{"iss":"https://foe.example",` + good[1:],
		"sub twice":            `{"sub":"admin",` + good[1:],
		"aud twice":            `{"aud":"other",` + good[1:],
		"exp twice":            `{"exp":1,` + good[1:],
		"a claim twice within": `{"x":{"a":1,"a":2},` + good[1:],
		"Iss for iss":          strings.Replace(good, `"iss"`, `"Iss"`, 1),
		"exp is null":          strings.Replace(c.oidc(t, map[string]any{"exp": 1}), `"exp":1`, `"exp":null`, 1),
		"sub of no Unicode":    strings.Replace(good, "billing", "bill\xffing", 1),
		"sub of half a pair":   strings.Replace(good, "billing", `bill\ud800ing`, 1),
		"more behind the end":  good + good,
		"a list":               "[" + good + "]",
		"null":                 "null",
		"no JSON":              "claims",
		"nothing":              "",
		"10,000 lists deep":    strings.Repeat("[", 10_000),
	} {
		c.add(t, "payload: "+name, s.sign(t, "ES256", es256, text))
	}
	// One byte more than what is looked at.
	fill := func(n int) string {
		return s.sign(t, "ES256", es256, c.oidc(t, map[string]any{"x": strings.Repeat("a", n)}))
	}
	n := 11 << 10
	for len(fill(n)) <= 16<<10 {
		n++
	}
	if c.add(t, "16 KiB and a bit", fill(n)); len(fill(n)) > 16<<10+2 || len(fill(n-1)) > 16<<10 {
		t.Fatalf("%d bytes", len(fill(n)))
	}
	c.good["oidc, of nearly 16 KiB"] = fill(n - 1)
}

// shapes are not what a token looks like.
func (c *corpus) shapes(t *testing.T, s signer) {
	good := c.good["oidc"]
	parts := strings.Split(good, ".")
	flat, err := json.Marshal(map[string]string{"protected": parts[0], "payload": parts[1], "signature": parts[2]})
	if err != nil {
		t.Fatal(err)
	}
	// The last character of 64 bytes in base64 has four bits that mean nothing.
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(digits, good[len(good)-1])
	for name, token := range map[string]string{
		"another's payload":       parts[0] + "." + b64([]byte(c.oidc(t, map[string]any{"sub": "admin"}))) + "." + parts[2],
		"no signature":            parts[0] + "." + parts[1] + ".",
		"two parts":               parts[0] + "." + parts[1],
		"one part":                parts[0],
		"no header":               "." + parts[1] + "." + parts[2],
		"no payload":              parts[0] + ".." + parts[2],
		"four parts":              good + ".x",
		"a dot at the end":        good + ".",
		"a dot at the beginning":  "." + good,
		"truncated":               good[:len(good)-5],
		"padding":                 good + "==",
		"bits of no meaning":      good[:len(good)-1] + string(digits[last|1]),
		"the other base64":        parts[0] + "." + parts[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(strings.Repeat("-_", 43)),
		"five parts, a JWE":       b64([]byte(`{"alg":"RSA-OAEP","enc":"A256GCM"}`)) + ".a.b.c.d",
		"a JWE that says dir":     b64([]byte(`{"alg":"dir","enc":"A256GCM"}`)) + "..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA",
		"JSON serialization":      string(flat),
		"a token within":          s.sign(t, "ES256", `{"alg":"ES256","kid":"ec","cty":"JWT"}`, good),
		"a token within a string": s.sign(t, "ES256", `{"alg":"ES256","kid":"ec","cty":"JWT"}`, `"`+good+`"`),
		"two tokens":              good + "," + good,
		"a space within":          parts[0] + ". " + parts[1] + "." + parts[2],
		"dots":                    "..",
		"16,384 dots":             strings.Repeat(".", 16<<10),
		"text":                    "hunter2hunter2",
		"beyond ASCII":            parts[0] + "." + parts[1] + ".é",
	} {
		c.add(t, "shape: "+name, token)
	}
	if c.hostile["shape: bits of no meaning"] == good {
		t.Fatal("the signature ends in another way than thought")
	}
}

func ecSignature(t *testing.T, key *ecdsa.PrivateKey, input string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	size := (key.Params().BitSize + 7) / 8
	return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
}

func rsaSignature(t *testing.T, key *rsa.PrivateKey, input string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// Nothing of the corpus is accepted, and nothing of it makes the broker call
// anybody: neither where it points to, nor its issuer once more.
func TestHostileTokens(t *testing.T) {
	c := newCorpus(t)
	a, err := authn.NewJWT(authn.JWTConfig{Issuers: c.issuers})
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range c.good { // so that each issuer's keys are there
		if _, err := a.Authenticate(t.Context(), bearer(token)); err != nil {
			t.Fatalf("the good token of %s: %v", name, err)
		}
	}
	accepted := 0
	for name, token := range c.hostile {
		t.Run(name, func(t *testing.T) {
			p, err := a.Authenticate(t.Context(), bearer(token))
			if broker.CodeOf(err) != broker.CodeBadCredentials {
				accepted++
				t.Fatalf("got %+v, %v; want BAD_CREDENTIALS", p, err)
			}
			if e := broker.AsError(err); e.Message == "" || len(token) > 8 && strings.Contains(e.Error(), token) || e.RetryAfter != 0 {
				t.Errorf("the error is %+v", e)
			}
		})
	}
	if n := c.home.requests.Load(); n != 2 {
		t.Errorf("%d requests to the issuer, want 2: its document and its keys, once", n)
	}
	if n := c.trap.Load(); n != 0 {
		t.Errorf("%d connections to where tokens point", n)
	}
	t.Logf("%d hostile tokens, %d accepted, %d outbound connections", len(c.hostile), accepted, c.trap.Load())
}

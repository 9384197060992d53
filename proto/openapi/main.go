// Command openapi is a protoc plugin that writes openapi.json: the REST side of
// the services, as OpenAPI 3.1. Paths and fields are those of the protos, and
// their comments are its descriptions. What protos cannot say stands beside
// this: the errors of each call in errors.go, requests and replies to try in
// examples.json.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	protogen.Options{}.Run(func(p *protogen.Plugin) error {
		p.SupportedFeatures = uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL)
		d, err := newDocument(p.Files)
		if err != nil {
			return err
		}
		text, err := d.text()
		if err != nil {
			return err
		}
		_, err = p.NewGeneratedFile("openapi.json", "").Write(text)
		return err
	})
}

// document is the description as it grows.
type document struct {
	words    words
	examples map[string]example
	tags     []any
	paths    object
	schemas  schemas
	// reasons are those that some operation has.
	reasons map[string]bool
}

func newDocument(files []*protogen.File) (*document, error) {
	examples, err := readExamples()
	if err != nil {
		return nil, err
	}
	d := &document{examples: examples, reasons: map[string]bool{}}
	for _, f := range files {
		if f.Generate {
			d.words.learn(f)
		}
	}
	d.schemas.words = &d.words
	for _, f := range files {
		if !f.Generate {
			continue
		}
		for _, s := range f.Services {
			_, about := d.words.split(s.Comments.Leading)
			d.tags = append(d.tags, object{{"name", s.GoName}, {"description", about}})
			for _, m := range s.Methods {
				if err := d.addMethod(s, m); err != nil {
					return nil, err
				}
			}
		}
	}
	for id := range d.examples {
		return nil, fmt.Errorf("examples.json: there is no operation %s", id)
	}
	return d, nil
}

// about is what holds for every operation.
const about = "Keyward brokers the secrets, keys and certificates of Azure Key Vault: a caller proves who it is, a policy decides, the decision is recorded, " +
	"and only then a secret or a certificate is served or changed, or a key is used.\n\n" +
	"A caller sends a bearer token, or connects with a client certificate; a token that is sent must be valid, and is who calls. " +
	"All is JSON, with times as RFC 3339 has them and bytes in base64. In replies, a field that is zero is shown and one that is unset is not. " +
	"An unknown field or query parameter is refused.\n\n" +
	"Every error is a `Status` whose `ErrorInfo` has a stable `reason`. Beside those of each operation, " +
	"a path that is none is 404 `UNKNOWN_ROUTE`, and a method that a path lacks is 405 with an `Allow` header. " +
	"What the policy denies and what is not there read the same to those who may not know."

func (d *document) text() ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(object{
		{"openapi", "3.1.0"},
		{"info", object{
			{"title", "Keyward"},
			{"version", "v1"},
			{"summary", "A secrets broker between workloads and Azure Key Vault."},
			{"description", about},
			{"license", object{{"name", "Apache License 2.0"}, {"identifier", "Apache-2.0"}}},
		}},
		{"servers", []any{object{{"url", "/"}, {"description", "The broker that serves this description."}}}},
		{"security", []any{object{{"bearer", []any{}}}, object{{"clientCertificate", []any{}}}}},
		{"tags", d.tags},
		{"paths", d.paths},
		{"components", object{
			{"schemas", d.schemas.done()},
			{"headers", headers()},
			{"examples", errorExamples(d.reasons)},
			{"securitySchemes", object{
				{"bearer", object{
					{"type", "http"},
					{"scheme", "bearer"},
					{"bearerFormat", "JWT"},
					{"description", "An OIDC token of an issuer in the broker's configuration. It names the principal, whatever the client certificate says."},
				}},
				{"clientCertificate", object{
					{"type", "mutualTLS"},
					{"description", "A client certificate with one SPIFFE URI, which names the principal."},
				}},
			}},
		}},
	})
	return buf.Bytes(), err
}

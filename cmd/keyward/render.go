package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/keyward/keyward/broker"
)

// stdio is the name of a file that stands for standard input or output.
const stdio = "-"

type renderCmd struct {
	callFlags

	In   string            `required:"" placeholder:"FILE" help:"The template; - is standard input."`
	Out  string            `required:"" placeholder:"FILE" help:"The file to write; - is standard output."`
	Mode fileMode          `default:"0600" placeholder:"MODE" help:"The permissions of the file (${default})."`
	Set  map[string]string `mapsep:"none" placeholder:"KEY=VALUE" help:"What the template finds as {{ .KEY }}. Not for secrets: an argument is visible to others. May be repeated."`
}

// Help shows examples.
func (*renderCmd) Help() string {
	return `The template is Go's text/template. Nothing is escaped but by these functions:

  {{ secret "db-password" }}                     a value; or vaults/ALIAS/secrets/NAME, with /versions/VERSION if wanted
  {{ secret "db-password" | toJson }}            a quoted string, for JSON and YAML
  {{ secret "tls-key" | b64enc }}, b64dec        base64, there and back
  {{ secret (printf "%s-password" .stage) }}     with --set stage=prod

  keyward render --in app.yaml.tmpl --out /run/app/app.yaml
  keyward render --in db.tmpl --out - --set stage=prod | psql

All secrets are fetched at once: the template is run a first time, with empty values, to see which it names. So a name must not depend on another's value, nor may it depend on one whether a secret is named.

The file is replaced whole, once everything worked: on any error the old one stays as it was, and no reader sees half of one. It keeps its owner.` + exitCodes
}

// Run renders a template.
func (c *renderCmd) Run(a *app) error {
	source, err := c.read(a)
	if err != nil {
		return fmt.Errorf("the template: %w", err)
	}
	cl, err := c.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	names := map[string]string{} // from what the template says to the full name
	if _, err := c.execute(source, func(said string) (string, error) {
		name, err := cl.secretName(said, "")
		names[said] = name
		return "", err
	}); err != nil {
		return err
	}
	values, err := cl.fetch(a.ctx, slices.Collect(maps.Values(names)))
	if err != nil {
		return err
	}
	text, err := c.execute(source, func(said string) (string, error) {
		name, ok := names[said]
		if !ok { // and is not repeated: it may be made of a value
			return "", errors.New("whether a secret is named, and its name, must not depend on another's value")
		}
		return values[name].value.Reveal(), nil
	})
	if err != nil {
		return err
	}
	if c.Out == stdio {
		_, err := io.WriteString(a.out, text.Reveal())
		return err
	}
	if err := replaceFile(c.Out, []byte(text.Reveal()), fs.FileMode(c.Mode)); err != nil {
		return fmt.Errorf("the output: %w", err)
	}
	return nil
}

func (c *renderCmd) read(a *app) (string, error) {
	if c.In == stdio {
		b, err := io.ReadAll(a.in)
		return string(b), err
	}
	b, err := os.ReadFile(c.In)
	return string(b), err
}

// execute runs the template with secret as its function of that name.
func (c *renderCmd) execute(source string, secret func(string) (string, error)) (broker.Value, error) {
	t, err := template.New(filepath.Base(c.In)).Option("missingkey=error").Funcs(template.FuncMap{
		"secret": secret,
		"toJson": toJSON,
		"b64enc": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		"b64dec": func(s string) (string, error) {
			b, err := base64.StdEncoding.DecodeString(s)
			return string(b), err
		},
	}).Parse(source)
	if err != nil {
		return broker.Value{}, err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, c.Set); err != nil {
		return broker.Value{}, err
	}
	return broker.NewValue(text.String()), nil
}

// toJSON quotes s for JSON, which YAML takes too.
func toJSON(s string) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// fileMode is a file's permissions in octal digits.
type fileMode fs.FileMode

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *fileMode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("%q is no mode: want octal digits such as 0600", text)
	}
	*m = fileMode(n)
	return nil
}

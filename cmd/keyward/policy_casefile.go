package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
)

// caseFile is a file of cases for keyward policy test. It is read strictly.
type caseFile struct {
	Cases []caseEntry `yaml:"cases"`
}

// caseEntry is one request and the decision that is expected.
type caseEntry struct {
	// Name says what the case shows. Default: principal, action and resource.
	Name string `yaml:"name"`
	// Principal is a SPIFFE ID or ISSUER/SUBJECT.
	Principal string `yaml:"principal"`
	// Groups and Attributes are those of the credentials; entities.json adds its
	// own.
	Groups     []string          `yaml:"groups"`
	Attributes map[string]string `yaml:"attributes"`
	Action     string            `yaml:"action"`
	// Resource is a full name: vaults/pay/secrets/db-password, or vaults/pay.
	Resource string      `yaml:"resource"`
	Context  caseContext `yaml:"context"`
	// Expected is "allow" or "deny".
	Expected string `yaml:"expected"`
	// Policies, if given, are the ids of exactly those that decide; [] for a
	// denial because nothing permits.
	Policies *[]string `yaml:"policies"`
}

type caseContext struct {
	// Time is RFC 3339. Default: now.
	Time string `yaml:"time"`
	// Peer is an IP address. Default: not known.
	Peer string `yaml:"peer"`
	// Transport is "grpc", the default, or "rest".
	Transport string `yaml:"transport"`
	Reason    string `yaml:"reason"`
}

// placedCase is a case and where it stands.
type placedCase struct {
	policy.Case

	position string
}

// caseFiles returns the files to read: those given, or all *.yaml and *.yml of
// dir and its folder tests.
func caseFiles(dir string, given []string) ([]string, error) {
	if len(given) > 0 {
		return given, nil
	}
	var files []string
	for _, in := range []string{dir, filepath.Join(dir, "tests")} {
		for _, pattern := range []string{"*.yaml", "*.yml"} {
			found, err := filepath.Glob(filepath.Join(escapeGlob(in), pattern))
			if err != nil {
				return nil, err
			}
			files = append(files, found...)
		}
	}
	slices.Sort(files)
	return files, nil
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `[`, `\[`, `*`, `\*`, `?`, `\?`).Replace(path)
}

// readCases reads a file. All that is wrong with it is told at once.
func readCases(policies *policy.Analysis, path string) ([]placedCase, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var f caseFile
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, yamlError(path, err)
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, yamlError(path, err)
	}
	check := &configCheck{path: path, file: file}
	var cases []placedCase
	for i, entry := range f.Cases {
		at := fmt.Sprintf("$.cases[%d]", i)
		cases = append(cases, placedCase{entry.read(policies, check, at), check.position(at + ".principal")})
	}
	return cases, errors.Join(check.errs...)
}

// read turns an entry into a case, and tells check what is wrong with it.
func (e caseEntry) read(policies *policy.Analysis, check *configCheck, at string) policy.Case {
	c := policy.Case{
		Name:    cmp.Or(e.Name, e.Principal+" "+e.Action+" "+e.Resource),
		Request: broker.Request{Time: time.Now(), Transport: cmp.Or(e.Context.Transport, broker.TransportGRPC), Reason: e.Context.Reason},
		Allowed: e.Expected == "allow",
	}
	wrong := func(key string, err error) bool {
		if err != nil {
			check.errorf(at+"."+key, "%s", strings.ReplaceAll(err.Error(), "\n  ", "; "))
		}
		return err != nil
	}
	var err error
	c.Request.Principal, err = principalFlags{Group: e.Groups}.principal(e.Principal)
	wrong("principal", err)
	c.Request.Principal.Attributes = e.Attributes
	c.Request.Action, err = actionOf(policies, e.Action)
	if !wrong("action", err) {
		c.Request.Resource, err = resourceOf(policies, c.Request.Action, e.Resource, "")
		wrong("resource", err)
	}
	if e.Context.Time != "" {
		if c.Request.Time, err = time.Parse(time.RFC3339, e.Context.Time); err != nil {
			check.errorf(at+".context.time", "want RFC 3339, such as 2026-05-01T12:00:00Z")
		}
	}
	if e.Context.Peer != "" {
		if c.Request.Peer, err = netip.ParseAddr(e.Context.Peer); err != nil {
			check.errorf(at+".context.peer", "want an IP address, such as 10.0.0.1")
		}
	}
	if t := c.Request.Transport; t != broker.TransportGRPC && t != broker.TransportREST {
		check.errorf(at+".context.transport", "want grpc or rest")
	}
	if e.Expected != "allow" && e.Expected != "deny" {
		check.errorf(at+".expected", "want allow or deny")
	}
	if e.Policies != nil {
		c.Policies = orEmpty(*e.Policies)
	}
	return c
}

package main

import (
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
)

// route is one HTTP binding of a method.
type route struct {
	method string
	path   string   // such as "/v1/vaults/{vault}/secrets/{secret}"
	kinds  []string // the collections whose members the path names, in order
	field  string   // the request's field that the path sets
	body   string   // "", "*", or the field that is the body
}

// routesOf returns the bindings of m, its first one first.
func routesOf(m *protogen.Method) ([]route, error) {
	rule, ok := proto.GetExtension(m.Desc.Options(), annotations.E_Http).(*annotations.HttpRule)
	if !ok || rule == nil {
		return nil, nil
	}
	var all []route
	for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		var httpMethod, template string
		switch p := r.GetPattern().(type) {
		case *annotations.HttpRule_Get:
			httpMethod, template = http.MethodGet, p.Get
		case *annotations.HttpRule_Put:
			httpMethod, template = http.MethodPut, p.Put
		case *annotations.HttpRule_Post:
			httpMethod, template = http.MethodPost, p.Post
		case *annotations.HttpRule_Delete:
			httpMethod, template = http.MethodDelete, p.Delete
		case *annotations.HttpRule_Patch:
			httpMethod, template = http.MethodPatch, p.Patch
		default:
			return nil, fmt.Errorf("%s: a binding of a kind that is not known", m.Desc.FullName())
		}
		rt := route{method: httpMethod, body: r.GetBody()}
		if err := rt.expand(template); err != nil {
			return nil, fmt.Errorf("%s: %w", m.Desc.FullName(), err)
		}
		all = append(all, rt)
	}
	return all, nil
}

// expand turns a template's one variable, if it has any, into a parameter for
// each star of its pattern, called as the collection before it.
func (r *route) expand(template string) error {
	if !strings.Contains(template, "{") {
		r.path = template
		return nil
	}
	before, variable, found := strings.Cut(template, "{")
	variable, after, closed := strings.Cut(variable, "}")
	field, pattern, named := strings.Cut(variable, "=")
	if !found || !closed || !named || strings.Contains(after, "{") {
		return fmt.Errorf("%s: want at most one variable, with a pattern", template)
	}
	r.field, _, _ = strings.Cut(field, ".")
	segments := strings.Split(pattern, "/")
	for i, s := range segments {
		if s != "*" {
			continue
		}
		kind := segments[max(i-1, 0)]
		if _, ok := members[kind]; !ok {
			return fmt.Errorf("%s: routes.go does not know what is in %q", template, kind)
		}
		r.kinds = append(r.kinds, kind)
		segments[i] = "{" + members[kind].name + "}"
	}
	r.path = before + strings.Join(segments, "/") + after
	return nil
}

// ofVersion: the path names one version.
func (r *route) ofVersion() bool { return len(r.kinds) > 0 && r.kinds[len(r.kinds)-1] == "versions" }

// collectionMember is how a path names a member of a collection.
type collectionMember struct {
	name, pattern, example, about string
}

var members = map[string]collectionMember{
	"vaults": {
		"vault", "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", "dev",
		"The vault's alias in the broker's configuration, never a host name.",
	},
	"secrets": {
		"secret", "^[0-9a-zA-Z-]{1,127}$", "db-password",
		"The secret's name. Upper case is folded to lower.",
	},
	"deletedSecrets": {
		"secret", "^[0-9a-zA-Z-]{1,127}$", "db-password",
		"The name of the secret that was deleted.",
	},
	"keys": {
		"key", "^[0-9a-zA-Z-]{1,127}$", "invoices",
		"The key's name. Upper case is folded to lower.",
	},
	"deletedKeys": {
		"key", "^[0-9a-zA-Z-]{1,127}$", "invoices",
		"The name of the key that was deleted.",
	},
	"certificates": {
		"certificate", "^[0-9a-zA-Z-]{1,127}$", "www",
		"The certificate's name. Upper case is folded to lower.",
	},
	"deletedCertificates": {
		"certificate", "^[0-9a-zA-Z-]{1,127}$", "www",
		"The name of the certificate that was deleted.",
	},
	"certificateIssuers": {
		"issuer", "^[0-9a-zA-Z-]{1,127}$", "digicert",
		"The issuer's name, as the vault has it. Upper case is folded to lower.",
	},
	"versions": {
		"version", "^[0-9a-f]{32}$", "01a200534a2700009536521920725304",
		"A version, as the vault gave it out.",
	},
}

// anyVault is the pattern of a vault where "-" stands for all.
const anyVault = "^(-|[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)$"

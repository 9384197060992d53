package service

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// route is one HTTP binding of a method, as its annotation has it.
type route struct {
	httpMethod string
	template   string // such as "/v1/{name=vaults/*/secrets/*}"
	rpc        string // the full gRPC method
	segments   []string
	verb       string
	// query are the fields that query parameters may set, by every spelling.
	query map[string]bool
	// known lists them as a client is told of them.
	known string
	// bare: the route takes no body. stream: its reply is many messages.
	bare, stream bool
	// patch is the type of the body where that is one field of the request.
	patch protoreflect.MessageDescriptor
}

// services are those of keyward.v1 that a Server serves.
func services() []protoreflect.ServiceDescriptor {
	return []protoreflect.ServiceDescriptor{
		keywardv1.File_keyward_v1_secrets_proto.Services().ByName("SecretService"),
		keywardv1.File_keyward_v1_keys_proto.Services().ByName("KeyService"),
		keywardv1.File_keyward_v1_certificates_proto.Services().ByName("CertificateService"),
		keywardv1.File_keyward_v1_access_proto.Services().ByName("AccessService"),
	}
}

// routes are all bindings of the services, read from the descriptors: the same
// source that the gateway's code is generated from.
type routes []route

func newRoutes(services ...protoreflect.ServiceDescriptor) (routes, error) {
	var all routes
	for _, sd := range services {
		for i := range sd.Methods().Len() {
			md := sd.Methods().Get(i)
			rule, ok := proto.GetExtension(md.Options(), annotations.E_Http).(*annotations.HttpRule)
			if !ok || rule == nil {
				continue
			}
			for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
				rt, err := newRoute(md, r)
				if err != nil {
					return nil, err
				}
				all = append(all, rt)
			}
		}
	}
	return all, nil
}

func newRoute(md protoreflect.MethodDescriptor, rule *annotations.HttpRule) (route, error) {
	r := route{rpc: fmt.Sprintf("/%s/%s", md.Parent().FullName(), md.Name()), query: make(map[string]bool), bare: rule.GetBody() == "", stream: md.IsStreamingServer()}
	switch p := rule.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		r.httpMethod, r.template = http.MethodGet, p.Get
	case *annotations.HttpRule_Put:
		r.httpMethod, r.template = http.MethodPut, p.Put
	case *annotations.HttpRule_Post:
		r.httpMethod, r.template = http.MethodPost, p.Post
	case *annotations.HttpRule_Delete:
		r.httpMethod, r.template = http.MethodDelete, p.Delete
	case *annotations.HttpRule_Patch:
		r.httpMethod, r.template = http.MethodPatch, p.Patch
	default:
		return route{}, fmt.Errorf("service: %s: a binding of a kind that is not known", md.FullName())
	}
	// A template's variable is its pattern under a name: without the names it is
	// a list of literals and stars.
	var path strings.Builder
	bound := map[string]bool{}
	for rest := r.template; rest != ""; {
		before, variable, found := strings.Cut(rest, "{")
		path.WriteString(before)
		if !found {
			break
		}
		variable, rest, _ = strings.Cut(variable, "}")
		name, pattern, _ := strings.Cut(variable, "=")
		bound[strings.SplitN(name, ".", 2)[0]] = true
		path.WriteString(pattern)
	}
	plain, verb, _ := strings.Cut(path.String(), ":")
	r.segments, r.verb = strings.Split(plain, "/"), verb

	var known []string
	for i := range md.Input().Fields().Len() {
		f := md.Input().Fields().Get(i)
		if rule.GetBody() == string(f.Name()) {
			r.patch = f.Message()
		}
		if rule.GetBody() == "*" || rule.GetBody() == string(f.Name()) || bound[string(f.Name())] {
			continue
		}
		r.query[string(f.Name())], r.query[f.JSONName()] = true, true
		known = append(known, f.JSONName())
	}
	r.known = strings.Join(known, ", ")
	return r, nil
}

// of returns the binding with this HTTP method and template.
func (rs routes) of(httpMethod, template string) (route, bool) {
	i := slices.IndexFunc(rs, func(r route) bool { return r.httpMethod == httpMethod && r.template == template })
	if i < 0 {
		return route{}, false
	}
	return rs[i], true
}

// allowed returns the HTTP methods of the routes that an escaped path matches.
func (rs routes) allowed(path string) []string {
	var methods []string
	for _, r := range rs {
		if r.matches(path) {
			methods = append(methods, r.httpMethod)
		}
	}
	slices.Sort(methods)
	return slices.Compact(methods)
}

func (r route) matches(path string) bool {
	if r.verb != "" {
		var ok bool
		if path, ok = strings.CutSuffix(path, ":"+r.verb); !ok {
			return false
		}
	}
	segments := strings.Split(path, "/")
	return slices.EqualFunc(r.segments, segments, func(want, got string) bool { return want == "*" || want == got })
}

// checkQuery refuses parameters that set no field of the route's request, as
// unknown fields of a JSON body are refused.
func (r route) checkQuery(raw string) error {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return &broker.Error{Code: broker.CodeBadField, Message: "the query string is malformed"}
	}
	for key := range values {
		// The gateway would take "field.part" and "field[key]" too.
		if !r.query[key] {
			m := "this route has no query parameters"
			if r.known != "" {
				m = "unknown query parameter; this route has " + r.known
			}
			return &broker.Error{Code: broker.CodeBadField, Message: m}
		}
	}
	return nil
}

package main

import (
	"path"
	"strings"

	"github.com/keyward/keyward/broker/audit"
)

// auditFilter says which records are of interest. What is not given holds for
// all.
type auditFilter struct {
	Principal string     `placeholder:"WHO" help:"Only of this principal. * stands for any part: dev/*."`
	Resource  string     `placeholder:"NAME" help:"Only on this, with any version, or with it among the items: vaults/pay/secrets/db-password. * stands for any part of a segment, and a vault for all in it."`
	Since     pastMoment `placeholder:"WHEN" help:"Only from then on: 2027-01-31, 2027-01-31T12:00:00Z, or how long ago, 12h or 30d."`
	Until     pastMoment `placeholder:"WHEN" help:"Only before then."`
}

func (f *auditFilter) validate() error {
	for flag, pattern := range map[string]string{"--principal": f.Principal, "--resource": f.Resource} {
		if _, err := path.Match(pattern, ""); err != nil {
			return usageError(flag + ": in a pattern, [ begins a set of characters; write \\[ for itself")
		}
	}
	return nil
}

func (f *auditFilter) takes(r *audit.Record) bool {
	if !f.Since.time.IsZero() && r.Time.Before(f.Since.time) || !f.Until.time.IsZero() && !r.Time.Before(f.Until.time) {
		return false
	}
	if f.Principal != "" && !anyPart(f.Principal, r.Principal) {
		return false
	}
	if f.Resource == "" || f.takesResource(r.Resource) {
		return true
	}
	for _, item := range r.Items {
		if f.takesResource(item.Resource) {
			return true
		}
	}
	return false
}

func (f *auditFilter) takesResource(name string) bool {
	if f.Resource == "" {
		return true
	}
	name = baseName(name)
	if ok, _ := path.Match(f.Resource, name); ok || f.Resource == name {
		return true
	}
	// A vault, by its name: all that is in it.
	return strings.Count(f.Resource, "/") == 1 && strings.HasPrefix(name, strings.TrimSuffix(f.Resource, "/")+"/")
}

// anyPart matches a principal, whose slashes mean nothing here.
func anyPart(pattern, id string) bool {
	const noSlash = "\x00"
	ok, _ := path.Match(strings.ReplaceAll(pattern, "/", noSlash), strings.ReplaceAll(id, "/", noSlash))
	return ok || pattern == id
}

// baseName is a name without its version.
func baseName(name string) string {
	base, _, _ := strings.Cut(name, "/versions/")
	return base
}

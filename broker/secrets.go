package broker

import (
	"context"
	"slices"
	"time"
)

// GetSecretOptions are what a reader may ask for beside a name.
type GetSecretOptions struct {
	// MaxAge is how old the answer may be, 0 to ask the vault; nil leaves it to
	// the cache.
	MaxAge *time.Duration
	// KnownVersion is the version that the caller has, if any.
	KnownVersion string
	// KnownETags are the etags that the caller has; "*" is any.
	KnownETags []string
}

// GetSecret returns the named version, or the latest. If the caller has it
// already, as o tells, the answer is NotModified and has no value.
//
// A secret that turns out to be a certificate's holds its private key: it also
// takes ActionDownloadCertificate on that certificate.
func (b *Broker) GetSecret(ctx context.Context, c Caller, name Name, o GetSecretOptions) (SecretValue, error) {
	if err := o.validate(); err != nil {
		return SecretValue{}, err
	}
	return read(ctx, b, c, ActionGetSecret, name, func(ctx context.Context, ev *Event) (SecretValue, error) {
		v, err := b.getSecret(ctx, c, name, o.MaxAge, &ev.Decision)
		if err != nil {
			return SecretValue{}, err
		}
		ev.Cached, ev.Stale = v.Cached, v.Stale
		if o.knows(v.Secret) {
			v.Value, v.NotModified = Value{}, true
		}
		return v, nil
	})
}

// getSecret is the act of a read that was allowed by d. If the secret takes
// more, d becomes the denial of that, or gains the policies that allowed it.
func (b *Broker) getSecret(ctx context.Context, c Caller, name Name, maxAge *time.Duration, d *Decision) (SecretValue, error) {
	store, err := b.secrets(name)
	if err != nil {
		return SecretValue{}, err
	}
	v, err := readWithin(ctx, store, name, maxAge)
	if err != nil {
		return SecretValue{}, err
	}
	if v.Managed {
		more := b.decide(ctx, c, ActionDownloadCertificate, name.As(KindCertificates))
		if !more.Allowed {
			*d = more
			return SecretValue{}, &Error{Code: CodePolicyDenied}
		}
		// The record names what released the key, too.
		d.Policies = slices.Concat(d.Policies, more.Policies)
		d.BreakGlass = d.BreakGlass || more.BreakGlass
	}
	return v, nil
}

// readWithin reads a secret that is at most maxAge old; nil leaves that to the
// store.
func readWithin(ctx context.Context, store SecretStore, name Name, maxAge *time.Duration) (SecretValue, error) {
	if fresh, ok := store.(FreshReader); ok && maxAge != nil {
		return fresh.GetSecretWithin(ctx, name, *maxAge)
	}
	return store.GetSecret(ctx, name)
}

func (o GetSecretOptions) validate() error {
	if o.MaxAge != nil && *o.MaxAge < 0 {
		return &Error{Code: CodeBadField, Field: "max_age", Message: "max_age is 0s or more"}
	}
	if o.KnownVersion != "" && !validVersion(o.KnownVersion) {
		return &Error{Code: CodeBadField, Field: "known_version", Message: "a version is 32 lower-case hexadecimal digits"}
	}
	return nil
}

func (o GetSecretOptions) knows(s Secret) bool {
	if o.KnownVersion != "" && o.KnownVersion == s.Name.Version() {
		return true
	}
	return slices.Contains(o.KnownETags, "*") || len(o.KnownETags) > 0 && slices.Contains(o.KnownETags, s.ETag())
}

// ListSecrets returns a page of the vault's secrets that the caller may list,
// ordered by name. Only the last one is short. p.Size is 1 to 1000, or 0 for
// 100.
//
// A caller whom no policy could let list anything in the vault is denied before
// the vault is asked.
func (b *Broker) ListSecrets(ctx context.Context, c Caller, vault Name, p Page) (SecretPage, error) {
	got, err := list(ctx, b, c, ActionListSecrets, vault.Collection(KindSecrets), p,
		func(ctx context.Context) (Whole[*Secret], error) {
			store, err := b.secrets(vault)
			if err != nil {
				return Whole[*Secret]{}, err
			}
			if l, ok := store.(WholeLister); ok {
				return l.AllSecrets(ctx, vault)
			}
			return secretPages(store, vault).whole(ctx)
		})
	return SecretPage{Secrets: copies(got.items), Next: got.next}, err
}

// ListSecretVersions returns a page of a secret's versions, newest first.
// p.Size is 1 to 1000, or 0 for 100.
func (b *Broker) ListSecretVersions(ctx context.Context, c Caller, name Name, p Page) (SecretPage, error) {
	got, err := versions(ctx, b, c, ActionListSecretVersions, name, p, func(s Secret) Name { return s.Name },
		func(ctx context.Context) (Whole[Secret], error) {
			store, err := b.secrets(name)
			if err != nil {
				return Whole[Secret]{}, err
			}
			all, err := store.ListSecretVersions(ctx, name)
			return Whole[Secret]{Items: all}, err
		})
	return SecretPage{Secrets: got.items, Next: got.next}, err
}

func wantBase(n Name) error {
	if n.Version() != "" {
		return &Error{Code: CodeBadName, Field: "name", Message: "this takes a name without a version"}
	}
	return nil
}

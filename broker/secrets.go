package broker

import (
	"context"
	"slices"
	"unicode/utf8"
)

const (
	defaultPageSize = 100
	maxPageSize     = 1000
	// maxWalk bounds the vault calls of one ListSecrets by a caller who may see
	// little of a large vault.
	maxWalk = 40
)

// GetSecret returns the named version, or the latest.
//
// A secret that turns out to be a certificate's holds its private key: it also
// takes ActionDownloadCertificate on that certificate.
func (b *Broker) GetSecret(ctx context.Context, c Caller, name Name) (SecretValue, error) {
	return read(ctx, b, c, ActionGetSecret, name, func(ctx context.Context, ev *Event) (SecretValue, error) {
		store, err := b.secrets(name)
		if err != nil {
			return SecretValue{}, err
		}
		v, err := store.GetSecret(ctx, name)
		if err != nil {
			return SecretValue{}, err
		}
		ev.Cached, ev.Stale = v.Cached, v.Stale
		if v.Managed {
			if d := b.decide(ctx, c, ActionDownloadCertificate, name.As(KindCertificates)); !d.Allowed {
				ev.Decision = d
				return SecretValue{}, &Error{Code: CodePolicyDenied}
			}
		}
		return v, nil
	})
}

// SetSecret makes a new version of a secret.
func (b *Broker) SetSecret(ctx context.Context, c Caller, name Name, s NewSecret) (Secret, error) {
	if err := s.validate(); err != nil {
		return Secret{}, err
	}
	if err := wantBase(name); err != nil {
		return Secret{}, err
	}
	return change(ctx, b, c, ActionSetSecret, name, func(ctx context.Context) (Secret, error) {
		store, err := b.secrets(name)
		if err != nil {
			return Secret{}, err
		}
		return store.SetSecret(ctx, name, s)
	})
}

// DeleteSecret soft-deletes a secret with all its versions.
func (b *Broker) DeleteSecret(ctx context.Context, c Caller, name Name) (DeletedSecret, error) {
	if err := wantBase(name); err != nil {
		return DeletedSecret{}, err
	}
	return change(ctx, b, c, ActionDeleteSecret, name, func(ctx context.Context) (DeletedSecret, error) {
		store, err := b.secrets(name)
		if err != nil {
			return DeletedSecret{}, err
		}
		return store.DeleteSecret(ctx, name)
	})
}

// ListSecrets returns a page of the vault's secrets that the caller may list.
// A page may be short and still have a Next. p.Size is 1 to 1000, or 0 for 100.
//
// A caller whom no policy could let list anything in the vault is denied before
// the vault is asked.
func (b *Broker) ListSecrets(ctx context.Context, c Caller, vault Name, p Page) (SecretPage, error) {
	size, err := pageSize(p.Size)
	if err != nil {
		return SecretPage{}, err
	}
	collection := vault.Collection(KindSecrets)
	return read(ctx, b, c, ActionListSecrets, collection, func(ctx context.Context, ev *Event) (SecretPage, error) {
		store, err := b.secrets(vault)
		if err != nil {
			return SecretPage{}, err
		}
		out := SecretPage{Next: p.Token}
		step := min(size, MaxStorePage)
		// A further store page is asked for only if the whole of it would fit: a
		// page of the vault cannot be resumed in its middle.
		for walked := 0; walked < maxWalk && len(out.Secrets)+step <= size; walked++ {
			got, err := store.ListSecrets(ctx, vault, Page{Size: step, Token: out.Next})
			if err != nil {
				return SecretPage{}, err
			}
			for _, s := range got.Secrets {
				d, err := b.authorize(ctx, c, ActionListSecrets, s.Name)
				if err != nil {
					b.log.ErrorContext(ctx, "the policy could not be evaluated; left out of a list", "error", err)
				}
				if !d.Allowed {
					continue
				}
				out.Secrets = append(out.Secrets, s)
				ev.Items = append(ev.Items, Item{Resource: s.Name, Decision: d, Outcome: OutcomeOK})
			}
			if out.Next = got.Next; out.Next == "" {
				break
			}
		}
		return out, nil
	})
}

// ListSecretVersions returns a page of a secret's versions, newest first.
// p.Size is 1 to 1000, or 0 for 100.
func (b *Broker) ListSecretVersions(ctx context.Context, c Caller, name Name, p Page) (SecretPage, error) {
	size, err := pageSize(p.Size)
	if err != nil {
		return SecretPage{}, err
	}
	if err := wantBase(name); err != nil {
		return SecretPage{}, err
	}
	return read(ctx, b, c, ActionListSecretVersions, name, func(ctx context.Context, ev *Event) (SecretPage, error) {
		store, err := b.secrets(name)
		if err != nil {
			return SecretPage{}, err
		}
		all, err := store.ListSecretVersions(ctx, name)
		if err != nil {
			return SecretPage{}, err
		}
		// The token is the last version of the page before. Versions are never
		// removed one by one, so it is still there unless the secret went.
		if p.Token != "" {
			i := slices.IndexFunc(all, func(s Secret) bool { return s.Name.Version() == p.Token })
			if i < 0 {
				return SecretPage{}, &Error{Code: CodeBadPageToken, Field: "page_token", Message: "the list has changed; begin again"}
			}
			all = all[i+1:]
		}
		out := SecretPage{Secrets: all}
		if len(all) > size {
			out.Secrets = all[:size]
			out.Next = all[size-1].Name.Version()
		}
		for _, s := range out.Secrets {
			ev.Items = append(ev.Items, Item{Resource: s.Name, Decision: ev.Decision, Outcome: OutcomeOK})
		}
		return out, nil
	})
}

func (s NewSecret) validate() error {
	switch {
	case s.Value.Len() == 0:
		return &Error{Code: CodeBadField, Field: "value", Message: "a value is required"}
	case s.Value.Len() > MaxValueLen:
		return &Error{Code: CodeValueTooLarge, Field: "value", Message: "a value is at most 25600 bytes"}
	case !utf8.ValidString(s.Value.Reveal()):
		return &Error{Code: CodeBadField, Field: "value", Message: "a value is UTF-8 text; encode binary data, and say how in content_type"}
	case utf8.RuneCountInString(s.ContentType) > MaxContentTypeLen:
		return &Error{Code: CodeBadField, Field: "content_type", Message: "a content type is at most 255 characters"}
	case len(s.Tags) > MaxTags:
		return &Error{Code: CodeBadField, Field: "tags", Message: "a secret has at most 15 tags"}
	case !s.NotBefore.IsZero() && !s.Expires.IsZero() && !s.NotBefore.Before(s.Expires):
		return &Error{Code: CodeBadField, Field: "expire_time", Message: "expire_time must be after not_before_time"}
	}
	for k, v := range s.Tags {
		if k == "" || utf8.RuneCountInString(k) > MaxTagLen || utf8.RuneCountInString(v) > MaxTagLen {
			return &Error{Code: CodeBadField, Field: "tags", Message: "a tag's name is 1 to 256 characters, its value at most 256"}
		}
	}
	return nil
}

func wantBase(n Name) error {
	if n.Version() != "" {
		return &Error{Code: CodeBadName, Field: "name", Message: "this takes a name without a version"}
	}
	return nil
}

func pageSize(n int) (int, error) {
	switch {
	case n < 0:
		return 0, &Error{Code: CodeBadField, Field: "page_size", Message: "page_size is 1 to 1000; 0 means 100"}
	case n == 0:
		return defaultPageSize, nil
	}
	return min(n, maxPageSize), nil
}

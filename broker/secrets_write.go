package broker

import (
	"context"
	"slices"
	"time"
	"unicode/utf8"
)

// SetSecretOptions are the conditions of a set.
type SetSecretOptions struct {
	// ETag, if any, must be that of the latest version.
	ETag string
	// RecoverDeleted recovers a soft-deleted name first. It takes
	// ActionUndeleteSecret too, whether or not it comes to that.
	RecoverDeleted bool
}

// SetSecret makes a new version of a secret.
//
// A precondition is atomic among the writers through this Broker. Key Vault has
// no conditional write: a writer elsewhere, between the check and the write, is
// not detected.
func (b *Broker) SetSecret(ctx context.Context, c Caller, name Name, s NewSecret, o SetSecretOptions) (Secret, error) {
	return b.set(ctx, c, ActionSetSecret, name, s, o)
}

// GenerateSecret sets a secret to a random value, which is not returned. s has
// no value of its own.
func (b *Broker) GenerateSecret(ctx context.Context, c Caller, name Name, g Generator, s NewSecret, o SetSecretOptions) (Secret, error) {
	value, err := g.generate()
	if err != nil {
		return Secret{}, err
	}
	s.Value = value
	return b.set(ctx, c, ActionGenerateSecret, name, s, o)
}

func (b *Broker) set(ctx context.Context, c Caller, a Action, name Name, s NewSecret, o SetSecretOptions) (Secret, error) {
	if err := s.validate(); err != nil {
		return Secret{}, err
	}
	if err := wantBase(name); err != nil {
		return Secret{}, err
	}
	if o.RecoverDeleted {
		// Decided before the vault is asked, so that a caller without the right
		// does not learn whether the name is deleted.
		if _, err := b.enter(ctx, c, ActionUndeleteSecret, name); err != nil {
			return Secret{}, err
		}
	}
	return change(ctx, b, c, a, name, func(ctx context.Context, _ *Event) (Secret, error) {
		store, unlock, err := b.writer(ctx, name)
		if err != nil {
			return Secret{}, err
		}
		defer unlock()
		made, err := setIfMatch(ctx, store, name, s, o.ETag)
		// With an etag, it is the look at the latest version that finds none.
		gone := o.ETag != "" && CodeOf(err) == CodeSecretNotFound
		if o.RecoverDeleted && (gone || CodeOf(err) == CodeSecretSoftDeleted) {
			made, err = b.setRecovered(ctx, c, store, name, s, o.ETag)
			gone = gone && CodeOf(err) == CodeSecretNotFound
		}
		if gone {
			err = &Error{Code: CodeETagMismatch}
		}
		return made, err
	})
}

// setRecovered recovers a soft-deleted secret, which is a recorded change of
// its own, and sets it as soon as the vault has settled.
func (b *Broker) setRecovered(ctx context.Context, c Caller, store SecretStore, name Name, s NewSecret, etag string) (Secret, error) {
	_, err := change(ctx, b, c, ActionUndeleteSecret, name, func(ctx context.Context, _ *Event) (Secret, error) {
		return store.RecoverSecret(ctx, name)
	})
	if err != nil {
		return Secret{}, err
	}
	unsettled := []Code{CodeSecretSoftDeleted, CodeSecretInTransition, CodeSecretNotFound}
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		made, err := setIfMatch(ctx, store, name, s, etag)
		if !slices.Contains(unsettled, CodeOf(err)) {
			return made, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return Secret{}, &Error{
				Code:       CodeSecretInTransition,
				Message:    "the secret was recovered, and the vault has not settled yet; set it again in a moment",
				RetryAfter: time.Second,
				Err:        err,
			}
		}
	}
}

func setIfMatch(ctx context.Context, store SecretStore, name Name, s NewSecret, etag string) (Secret, error) {
	if err := ifMatch(ctx, store, name, etag); err != nil {
		return Secret{}, err
	}
	return store.SetSecret(ctx, name, s)
}

// UpdateSecret changes what is known of the named version, or of the latest.
// etag, if any, must be that version's; it is checked as in SetSecret.
func (b *Broker) UpdateSecret(ctx context.Context, c Caller, name Name, u SecretUpdate, etag string) (Secret, error) {
	if err := u.validate(); err != nil {
		return Secret{}, err
	}
	return change(ctx, b, c, ActionUpdateSecret, name, func(ctx context.Context, _ *Event) (Secret, error) {
		store, unlock, err := b.writer(ctx, name)
		if err != nil {
			return Secret{}, err
		}
		defer unlock()
		if err := ifMatch(ctx, store, name, etag); err != nil {
			return Secret{}, err
		}
		return store.UpdateSecret(ctx, name, u)
	})
}

// DeleteSecret soft-deletes a secret with all its versions. etag, if any, must
// be the latest version's; it is checked as in SetSecret.
func (b *Broker) DeleteSecret(ctx context.Context, c Caller, name Name, etag string) (DeletedSecret, error) {
	if err := wantBase(name); err != nil {
		return DeletedSecret{}, err
	}
	return change(ctx, b, c, ActionDeleteSecret, name, func(ctx context.Context, _ *Event) (DeletedSecret, error) {
		store, unlock, err := b.writer(ctx, name)
		if err != nil {
			return DeletedSecret{}, err
		}
		defer unlock()
		if err := ifMatch(ctx, store, name, etag); err != nil {
			return DeletedSecret{}, err
		}
		return store.DeleteSecret(ctx, name)
	})
}

// writer returns the store of name's vault, once no other writer of the name is
// at work in this Broker.
func (b *Broker) writer(ctx context.Context, name Name) (SecretStore, func(), error) {
	store, err := b.secrets(name)
	if err != nil {
		return nil, nil, err
	}
	unlock, err := b.writers.lock(ctx, name.Base())
	if err != nil {
		return nil, nil, err
	}
	return store, unlock, nil
}

// ifMatch asks the vault whether etag, if any, is still that of name.
func ifMatch(ctx context.Context, store SecretStore, name Name, etag string) error {
	if etag == "" {
		return nil
	}
	now, err := current(ctx, store, name)
	if err != nil {
		return err
	}
	switch {
	case now.Managed: // the vault would say no more than this
		return &Error{Code: CodeCertificateManaged}
	case now.ETag() != etag:
		return &Error{Code: CodeETagMismatch}
	}
	return nil
}

// current returns what the vault knows of the named version, or of the latest.
func current(ctx context.Context, store SecretStore, name Name) (Secret, error) {
	v, err := readWithin(ctx, store, name, new(time.Duration(0)))
	if CodeOf(err) != CodeSecretDisabled {
		return v.Secret, err
	}
	// A disabled version is shown in lists only.
	all, err := store.ListSecretVersions(ctx, name.Base())
	if err != nil {
		return Secret{}, err
	}
	for _, s := range all {
		if name.Version() == "" || s.Name == name {
			return s, nil
		}
	}
	return Secret{}, &Error{Code: CodeSecretNotFound}
}

func (s NewSecret) validate() error {
	switch {
	case s.Value.Len() == 0:
		return &Error{Code: CodeBadField, Field: "value", Message: "a value is required"}
	case s.Value.Len() > MaxValueLen:
		return &Error{Code: CodeValueTooLarge, Field: "value", Message: "a value is at most 25600 bytes"}
	case !utf8.ValidString(s.Value.Reveal()):
		return &Error{Code: CodeBadField, Field: "value", Message: "a value is UTF-8 text; encode binary data, and say how in content_type"}
	case !s.NotBefore.IsZero() && !s.Expires.IsZero() && !s.NotBefore.Before(s.Expires):
		return &Error{Code: CodeBadField, Field: "expire_time", Message: "expire_time must be after not_before_time"}
	}
	if err := checkContentType(s.ContentType); err != nil {
		return err
	}
	return checkTags(s.Tags)
}

func (u SecretUpdate) validate() error {
	switch {
	case u == SecretUpdate{}:
		return &Error{Code: CodeBadField, Field: "update_mask", Message: "nothing to change; name the fields in update_mask"}
	case u.NotBefore != nil && u.NotBefore.IsZero():
		return &Error{Code: CodeBadField, Field: "not_before_time", Message: "not_before_time can be changed but not removed; set a new version without it"}
	case u.Expires != nil && u.Expires.IsZero():
		return &Error{Code: CodeBadField, Field: "expire_time", Message: "expire_time can be changed but not removed; set a new version without it"}
	case u.NotBefore != nil && u.Expires != nil && !u.NotBefore.Before(*u.Expires):
		return &Error{Code: CodeBadField, Field: "expire_time", Message: "expire_time must be after not_before_time"}
	}
	if u.ContentType != nil {
		if err := checkContentType(*u.ContentType); err != nil {
			return err
		}
	}
	if u.Tags != nil {
		return checkTags(*u.Tags)
	}
	return nil
}

func checkContentType(s string) error {
	if utf8.RuneCountInString(s) > MaxContentTypeLen {
		return &Error{Code: CodeBadField, Field: "content_type", Message: "a content type is at most 255 characters"}
	}
	return nil
}

func checkTags(tags map[string]string) error {
	if len(tags) > MaxTags {
		return &Error{Code: CodeBadField, Field: "tags", Message: "there are at most 15 tags"}
	}
	for k, v := range tags {
		if k == "" || utf8.RuneCountInString(k) > MaxTagLen || utf8.RuneCountInString(v) > MaxTagLen {
			return &Error{Code: CodeBadField, Field: "tags", Message: "a tag's name is 1 to 256 characters, its value at most 256"}
		}
	}
	return nil
}

package keyvault

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	secretsPath = "/secrets"
	// maxPages bounds the walk through one secret's versions.
	maxPages = 1000
)

// GetSecret implements broker.SecretStore.
func (c *Client) GetSecret(ctx context.Context, name broker.Name) (broker.SecretValue, error) {
	asked := time.Now()
	path := secretPath(name)
	if name.Version() != "" {
		path += "/" + name.Version()
	}
	k := call{operation: "GetSecret", method: http.MethodGet, path: path, limit: maxReplyLen}
	return invoke(ctx, c, k, func(w Secret) (broker.SecretValue, error) {
		s, err := versionOf(name, w)
		if err != nil {
			return broker.SecretValue{}, err
		}
		if w.Value == nil {
			return broker.SecretValue{}, errors.New("a secret without its value")
		}
		return broker.SecretValue{Secret: s, Value: w.Value.Value, Fetched: asked}, nil
	})
}

// SetSecret implements broker.SecretStore. It is never tried twice: after
// VAULT_UNAVAILABLE the version may or may not exist.
func (c *Client) SetSecret(ctx context.Context, name broker.Name, s broker.NewSecret) (broker.Secret, error) {
	body, err := json.Marshal(FromNewSecret(s))
	if err != nil {
		return broker.Secret{}, &broker.Error{Code: broker.CodeInternal, Err: errors.New("the secret cannot be encoded")}
	}
	k := call{operation: "SetSecret", method: http.MethodPut, path: secretPath(name), body: body, limit: maxReplyLen}
	return invoke(ctx, c, k, func(w Secret) (broker.Secret, error) { return versionOf(name.Base(), w) })
}

// DeleteSecret implements broker.SecretStore. After VAULT_UNAVAILABLE it may
// have happened.
func (c *Client) DeleteSecret(ctx context.Context, name broker.Name) (broker.DeletedSecret, error) {
	k := call{operation: "DeleteSecret", method: http.MethodDelete, path: secretPath(name), limit: maxReplyLen}
	return invoke(ctx, c, k, func(w DeletedSecret) (broker.DeletedSecret, error) {
		n, err := secretName(name.Vault(), w.ID)
		if err != nil {
			return broker.DeletedSecret{}, err
		}
		if n.Base() != name.Base() {
			return broker.DeletedSecret{}, errOtherSecret
		}
		return broker.DeletedSecret{
			Secret:  w.As(name.Base()),
			Deleted: w.DeletedDate.Time(),
			Purges:  w.ScheduledPurgeDate.Time(),
		}, nil
	})
}

// ListSecrets implements broker.SecretStore. A page's Next is what the vault's
// nextLink has beside the vault's address.
func (c *Client) ListSecrets(ctx context.Context, vault broker.Name, p broker.Page) (broker.SecretPage, error) {
	k := call{operation: "ListSecrets", method: http.MethodGet, path: secretsPath}
	page, err := c.list(ctx, k, p, func(w Secret) (broker.Secret, error) {
		n, err := secretName(vault.Vault(), w.ID)
		if err != nil {
			return broker.Secret{}, err
		}
		return w.As(n.Base()), nil
	})
	if e, ok := errors.AsType[*broker.Error](err); ok && e.Code == broker.CodeBadField && p.Token != "" {
		return broker.SecretPage{}, badPageToken(e)
	}
	return page, err
}

// ListSecretVersions implements broker.SecretStore. Key Vault orders versions by
// id, which is random, and so all are read before the first is returned.
func (c *Client) ListSecretVersions(ctx context.Context, name broker.Name) ([]broker.Secret, error) {
	name = name.Base()
	k := call{operation: "ListSecretVersions", method: http.MethodGet, path: secretPath(name) + "/versions"}
	var all []broker.Secret
	p := broker.Page{Size: broker.MaxStorePage}
	for range maxPages {
		page, err := c.list(ctx, k, p, func(w Secret) (broker.Secret, error) { return versionOf(name, w) })
		if err != nil {
			return nil, err
		}
		all = append(all, page.Secrets...)
		if page.Next != "" {
			p.Token = page.Next
			continue
		}
		if len(all) == 0 {
			// A secret has a version.
			return nil, &broker.Error{Code: broker.CodeSecretNotFound}
		}
		slices.SortFunc(all, func(a, b broker.Secret) int {
			return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Name.Version(), a.Name.Version()))
		})
		return all, nil
	}
	return nil, unusable(errors.New("a list of versions that does not end"))
}

// list gets a page of k's list. Only the link to the next page tells whether
// there is more: a page may be empty.
func (c *Client) list(
	ctx context.Context, k call, p broker.Page, convert func(Secret) (broker.Secret, error),
) (broker.SecretPage, error) {
	k.limit = maxListLen
	size := broker.MaxStorePage
	if p.Size > 0 {
		size = min(p.Size, size)
	}
	k.query = "maxresults=" + strconv.Itoa(size)
	if p.Token != "" {
		if !validNext(p.Token) {
			return broker.SecretPage{}, badPageToken(nil)
		}
		k.query = p.Token + "&" + k.query
	}
	return invoke(ctx, c, k, func(w SecretList) (broker.SecretPage, error) {
		if w.Value == nil {
			return broker.SecretPage{}, errors.New("a list without its items")
		}
		if len(w.Value) > size {
			return broker.SecretPage{}, errors.New("a page with more items than were asked for")
		}
		page := broker.SecretPage{Secrets: make([]broker.Secret, 0, len(w.Value))}
		for _, item := range w.Value {
			s, err := convert(item)
			if err != nil {
				return broker.SecretPage{}, err
			}
			page.Secrets = append(page.Secrets, s)
		}
		var err error
		if page.Next, err = nextQuery(c.origin, k.path, w.NextLink); err != nil {
			return broker.SecretPage{}, err
		}
		if page.Next != "" && page.Next == p.Token {
			return broker.SecretPage{}, errors.New("a page that leads to itself")
		}
		return page, nil
	})
}

// versionOf returns w, which must be a version of name, and the very one if
// name has a version. The name is that of the request; only the version is the
// vault's.
func versionOf(name broker.Name, w Secret) (broker.Secret, error) {
	n, err := secretName(name.Vault(), w.ID)
	if err != nil {
		return broker.Secret{}, err
	}
	if n.Base() != name.Base() || n.Version() == "" || (name.Version() != "" && n != name) {
		return broker.Secret{}, errOtherSecret
	}
	return w.As(n), nil
}

var errOtherSecret = errors.New("another secret, or another version, than was asked for")

func secretPath(n broker.Name) string { return secretsPath + "/" + n.ObjectName() }

func badPageToken(cause error) *broker.Error {
	return &broker.Error{Code: broker.CodeBadPageToken, Field: "page_token", Message: "begin the list again", Err: cause}
}

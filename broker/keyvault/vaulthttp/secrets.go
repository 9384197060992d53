package vaulthttp

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

func (h *handler) getSecret(ctx context.Context, r request) (any, error) {
	s, err := h.Secrets.GetSecret(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	w := r.secret(s.Secret)
	w.Value = &keyvault.Cleartext{Value: s.Value}
	if s.Managed {
		w.KeyID = r.origin() + "/keys/" + s.Name.ObjectName() + "/" + s.Name.Version()
	}
	return w, nil
}

func (h *handler) setSecret(ctx context.Context, r request) (any, error) {
	body, err := readBody(r.Request)
	if err != nil {
		return nil, err
	}
	var w keyvault.SetSecretRequest
	// The decoder's errors may quote the body.
	if !utf8.Valid(body) || json.Unmarshal(body, &w) != nil {
		return nil, badParameter("The request body is not the JSON of a secret.")
	}
	if err := checkSet(w); err != nil {
		return nil, err
	}
	s, err := h.Secrets.SetSecret(ctx, r.route.name, w.NewSecret())
	if err != nil {
		return nil, err
	}
	reply := r.secret(s)
	reply.Value = w.Value
	return reply, nil
}

// checkSet holds a set to Key Vault's limits, as whoever sits between a caller
// and a store must.
func checkSet(w keyvault.SetSecretRequest) error {
	switch {
	case w.Value == nil:
		return badParameter(`The parameter "value" is required.`)
	case w.Value.Len() > broker.MaxValueLen:
		return badParameter("The secret value is longer than 25600 bytes.")
	case utf8.RuneCountInString(w.ContentType) > broker.MaxContentTypeLen:
		return badParameter("The content type is longer than 255 characters.")
	case len(w.Tags) > broker.MaxTags:
		return badParameter("There are more than 15 tags.")
	}
	return nil
}

func (h *handler) deleteSecret(ctx context.Context, r request) (any, error) {
	s, err := h.Secrets.DeleteSecret(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	return keyvault.DeletedSecret{
		RecoveryID:         r.origin() + "/deletedsecrets/" + s.Name.ObjectName(),
		DeletedDate:        keyvault.NewUnixTime(s.Deleted),
		ScheduledPurgeDate: keyvault.NewUnixTime(s.Purges),
		Secret:             r.secret(s.Secret),
	}, nil
}

func (h *handler) listSecrets(ctx context.Context, r request) (any, error) {
	size, token, err := r.page()
	if err != nil {
		return nil, err
	}
	page, err := h.Secrets.ListSecrets(ctx, h.Vault, broker.Page{Size: size, Token: token})
	if err != nil {
		return nil, err
	}
	return r.list("/secrets", page, size), nil
}

// listVersions orders versions by id, as Key Vault does, which no client can
// take for their age.
func (h *handler) listVersions(ctx context.Context, r request) (any, error) {
	size, token, err := r.page()
	if err != nil {
		return nil, err
	}
	all, err := h.Secrets.ListSecretVersions(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	all = slices.SortedFunc(slices.Values(all), func(a, b broker.Secret) int {
		return cmp.Compare(a.Name.Version(), b.Name.Version())
	})
	// The token is the last version of the page before.
	from, found := slices.BinarySearchFunc(all, token, func(s broker.Secret, v string) int {
		return cmp.Compare(s.Name.Version(), v)
	})
	if found {
		from++
	}
	page := broker.SecretPage{Secrets: all[from:]}
	if len(page.Secrets) > size {
		page.Secrets = page.Secrets[:size]
		page.Next = page.Secrets[size-1].Name.Version()
	}
	return r.list("/secrets/"+r.route.name.ObjectName()+"/versions", page, size), nil
}

// page returns what part of a list is asked for.
func (r request) page() (size int, token string, err error) {
	size = broker.MaxStorePage
	if r.query.Has("maxresults") {
		size, err = strconv.Atoi(r.query.Get("maxresults"))
		if err != nil || size < 1 || size > broker.MaxStorePage {
			return 0, "", badParameter("Invalid maxresults: it is a number from 1 to 25.")
		}
	}
	text, err := base64.RawURLEncoding.DecodeString(r.query.Get("$skiptoken"))
	if err != nil {
		return 0, "", badParameter("Invalid $skiptoken.")
	}
	return size, string(text), nil
}

func (r request) list(path string, page broker.SecretPage, size int) keyvault.SecretList {
	l := keyvault.SecretList{Value: make([]keyvault.Secret, 0, len(page.Secrets))}
	for _, s := range page.Secrets {
		l.Value = append(l.Value, r.secret(s))
	}
	if page.Next != "" {
		// Key Vault names the port even where it is the scheme's own.
		at := url.URL{Host: r.Host}
		if at.Port() == "" {
			at.Host += ":443"
		}
		l.NextLink = new("https://" + at.Host + path +
			"?api-version=" + url.QueryEscape(r.apiVersion) +
			"&$skiptoken=" + base64.RawURLEncoding.EncodeToString([]byte(page.Next)) +
			"&maxresults=" + strconv.Itoa(size))
	}
	return l
}

// secret returns s as it is written to the client, without a value.
func (r request) secret(s broker.Secret) keyvault.Secret {
	id := r.origin() + "/secrets/" + s.Name.ObjectName()
	if v := s.Name.Version(); v != "" {
		id += "/" + v
	}
	return keyvault.FromSecret(id, s)
}

func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBodyLen+1))
	switch {
	case err != nil:
		return nil, &refusal{
			status: http.StatusBadRequest, code: keyvault.ErrorBadParameter,
			message: "The request body could not be read.", cause: err,
		}
	case len(body) > maxBodyLen:
		return nil, &refusal{
			status: http.StatusRequestEntityTooLarge, code: keyvault.ErrorBadParameter,
			message: "The request body is too large.", cause: errors.New("the body is longer than any secret"),
		}
	}
	return body, nil
}

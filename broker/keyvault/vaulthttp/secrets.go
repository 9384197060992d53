package vaulthttp

import (
	"context"
	"encoding/json"
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
	if err := r.converted(&w); err != nil {
		return nil, err
	}
	return w, nil
}

// converted turns a certificate's PFX into PEM, if a client asks for that, which is
// all that Key Vault can do.
func (r request) converted(w *keyvault.Secret) error {
	asked := r.query.Get("outContentType")
	switch {
	case asked == "" || r.olderThan("2025-07-01") || asked == w.ContentType:
		return nil
	case asked != broker.ContentTypePEM || w.Managed && w.ContentType != broker.ContentTypePKCS12:
		return badParameter("Invalid outContentType: a certificate's secret can be converted from application/x-pkcs12 to application/x-pem-file only.")
	case !w.Managed:
		return nil
	}
	material, err := broker.ParseCertificateMaterial(w.ContentType, w.Value.Value, broker.Value{})
	if err != nil {
		return &broker.Error{Code: broker.CodeInternal, Err: err}
	}
	pem, err := material.Secret(broker.ContentTypePEM)
	if err != nil {
		return &broker.Error{Code: broker.CodeInternal, Err: err}
	}
	w.Value, w.ContentType = &keyvault.Cleartext{Value: pem}, broker.ContentTypePEM
	return nil
}

func (h *handler) setSecret(ctx context.Context, r request) (any, error) {
	body, err := readBody(r.Request, maxBodyLen)
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
	}
	return checkProperties(w.ContentType, w.Tags)
}

// maxTagLen is Key Vault's for a secret's tags. The broker's own is lower.
const maxTagLen = 512

func checkProperties(contentType string, tags map[string]string) error {
	switch {
	case utf8.RuneCountInString(contentType) > broker.MaxContentTypeLen:
		return badParameter("The content type is longer than 255 characters.")
	case len(tags) > broker.MaxTags:
		return badParameter("There are more than 15 tags.")
	}
	for name, value := range tags {
		if utf8.RuneCountInString(name) > maxTagLen || utf8.RuneCountInString(value) > maxTagLen {
			return badParameter("The name or the value of a tag is longer than 512 characters.")
		}
	}
	return nil
}

func (h *handler) updateSecret(ctx context.Context, r request) (any, error) {
	body, err := readBody(r.Request, maxBodyLen)
	if err != nil {
		return nil, err
	}
	var w keyvault.UpdateSecretRequest
	if !utf8.Valid(body) || json.Unmarshal(body, &w) != nil {
		return nil, badParameter("The request body is not the JSON of a secret's properties.")
	}
	u := w.SecretUpdate()
	var (
		contentType string
		tags        map[string]string
	)
	if u.ContentType != nil {
		contentType = *u.ContentType
	}
	if u.Tags != nil {
		tags = *u.Tags
	}
	if err := checkProperties(contentType, tags); err != nil {
		return nil, err
	}
	s, err := h.Secrets.UpdateSecret(ctx, r.route.name, u)
	if err != nil {
		return nil, err
	}
	return r.secret(s), nil
}

func (h *handler) deleteSecret(ctx context.Context, r request) (any, error) {
	s, err := h.Secrets.DeleteSecret(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	return h.deletedBundle(ctx, r, s), nil
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
	return list(r, "/secrets", page.Secrets, r.secret, page.Next, size), nil
}

func (h *handler) listVersions(ctx context.Context, r request) (any, error) {
	size, token, err := r.page()
	if err != nil {
		return nil, err
	}
	all, err := h.Secrets.ListSecretVersions(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	all, next := pageOfVersions(all, func(s broker.Secret) string { return s.Name.Version() }, token, size)
	return list(r, "/secrets/"+r.route.name.ObjectName()+"/versions", all, r.secret, next, size), nil
}

// secret returns s as it is written to the client, without a value.
func (r request) secret(s broker.Secret) keyvault.Secret {
	id := r.origin() + "/secrets/" + s.Name.ObjectName()
	if v := s.Name.Version(); v != "" {
		id += "/" + v
	}
	return r.trim(keyvault.FromSecret(id, s))
}

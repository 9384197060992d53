package keyvault_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
	"github.com/keyward/keyward/broker/keyvault/internal/recordings"
)

// recordedCertificateMeanings is what the caller must be told of a recorded refusal.
var recordedCertificateMeanings = map[string]broker.Code{
	"401 Unauthorized":        broker.CodeVaultAuthentication,
	"404 CertificateNotFound": broker.CodeCertificateNotFound,
	"409 Conflict":            broker.CodeCertificateExists, // of a restore
}

// Every recorded reply about certificates comes out of the client as what it says,
// but for what the client does not ask: changes of issuers.
func TestRecordedCertificateReplies(t *testing.T) {
	set, err := recordings.OthersOfCertificates()
	if errors.Is(err, recordings.ErrNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	replies, unasked := 0, 0
	for _, s := range set.Scenarios {
		for i := 0; i < len(s.Steps); {
			group := keyGroup(s.Steps[i:])
			replies += len(group)
			if r := group[0].Request; strings.Contains(r.URL, "/certificates/issuers/") && r.Method != http.MethodGet {
				unasked += len(group)
			} else if err := playCertificates(t, group); err != nil {
				t.Errorf("%s, step %d, %s %s: %v", s.Name, i+1, r.Method, r.URL, err)
			}
			i += len(group)
		}
	}
	if t.Failed() {
		return
	}
	t.Logf("%d recorded replies parse as they should, of %d; %d are to what the client does not ask", replies-unasked, replies, unasked)
	if replies-unasked < 100 {
		t.Error("the recordings are not whole")
	}
}

// playCertificates has a client of its own ask what was asked, answers as was
// answered, and compares.
func playCertificates(t *testing.T, group []recordings.Step) error {
	t.Helper()
	group = slices.Clone(group)
	body, err := withoutDates(group[0].Request.Body)
	if err != nil {
		return err
	}
	group[0].Request.Body = body
	p := newPlayer(t, recordings.Scenario{Steps: group})
	p.steps = group
	got, err := callCertificate(t.Context(), p, group[0].Request)
	p.mu.Lock()
	defer p.mu.Unlock()
	want := result{}
	if status := group[0].Response.Status; status >= 300 {
		var body keyvault.ErrorReply
		if err := json.Unmarshal(group[0].Response.Body, &body); err != nil {
			return err
		}
		code, known := recordedCertificateMeanings[fmt.Sprint(status, " ", body.Error.Code)]
		if !known {
			return fmt.Errorf("no row fits %d %s", status, body.Error.Code)
		}
		want.code, got = code, nil
	} else {
		for _, s := range group {
			f, err := recordedCertificateFacts(s.Response.Body)
			if err != nil {
				return err
			}
			want.facts = append(want.facts, f...)
		}
	}
	if p.asked < len(group) {
		return fmt.Errorf("%d requests reached the vault, want %d: %w", p.asked, len(group), err)
	}
	return errors.Join(p.fault, want.compare(got, err))
}

// withoutDates takes from a body the dates of a certificate, which a vault ignores
// and the broker does not send.
func withoutDates(body json.RawMessage) (json.RawMessage, error) {
	if len(body) == 0 {
		return nil, nil
	}
	var whole map[string]any
	if err := json.Unmarshal(body, &whole); err != nil {
		return nil, err
	}
	policy, _ := whole["policy"].(map[string]any)
	for _, o := range []map[string]any{whole, policy} {
		if a, ok := o["attributes"].(map[string]any); ok {
			delete(a, "exp")
			delete(a, "nbf")
			if len(a) == 0 {
				delete(o, "attributes")
			}
		}
	}
	return json.Marshal(whole)
}

// callCertificate performs a recorded request with the client.
func callCertificate(ctx context.Context, p *player, r recordings.Request) ([]facts, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	var name broker.Name
	if len(parts) > 1 && !slices.Contains([]string{"restore", "contacts", "issuers"}, parts[1]) {
		if name, err = p.vault.Object(broker.KindCertificates, parts[1]); err != nil {
			return nil, err
		}
		parts[1] = "{name}"
	}
	page := broker.Page{Size: 1}
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		if strings.HasPrefix(part, "$skiptoken=") {
			page.Token = part
		}
	}
	one := func(c broker.Certificate, err error) ([]facts, error) { return []facts{factsOfCertificate(c)}, err }
	oneDeleted := func(c broker.DeletedCertificate, err error) ([]facts, error) {
		return []facts{factsOfDeletedCertificate(c)}, err
	}
	operation := func(o broker.CertificateOperation, err error) ([]facts, error) {
		return []facts{factsOfOperation(o)}, err
	}
	contacts := func(all []broker.CertificateContact, err error) ([]facts, error) {
		return []facts{{"contacts": fmt.Sprint(all)}}, err
	}
	c := p.client
	switch r.Method + " " + strings.Join(parts, "/") {
	case "POST certificates/{name}/create":
		var body keyvault.CreateCertificateRequest
		if err := decodeBody(r.Body, &body); err != nil {
			return nil, err
		}
		return operation(c.CreateCertificate(ctx, name, body.NewCertificate()))
	case "GET certificates/{name}/pending":
		return operation(c.GetCertificateOperation(ctx, name))
	case "PATCH certificates/{name}/pending":
		return operation(c.CancelCertificateOperation(ctx, name))
	case "DELETE certificates/{name}/pending":
		return operation(c.DeleteCertificateOperation(ctx, name))
	case "POST certificates/{name}/pending/merge":
		var body keyvault.MergeCertificateRequest
		if err := decodeBody(r.Body, &body); err != nil {
			return nil, err
		}
		return one(c.MergeCertificate(ctx, name, body.CertificateMerge()))
	case "POST certificates/{name}/import":
		var body keyvault.ImportCertificateRequest
		if err := decodeBody(r.Body, &body); err != nil {
			return nil, err
		}
		return one(c.ImportCertificate(ctx, name, body.CertificateImport()))
	case "GET certificates/{name}":
		return one(c.GetCertificate(ctx, name))
	case "PATCH certificates/{name}":
		var body keyvault.UpdateCertificateRequest
		if err := decodeBody(r.Body, &body); err != nil {
			return nil, err
		}
		return one(c.UpdateCertificate(ctx, name, body.CertificateUpdate()))
	case "GET certificates/{name}/policy":
		p, err := c.GetCertificatePolicy(ctx, name)
		return []facts{factsOfCertificatePolicy(p)}, err
	case "PATCH certificates/{name}/policy":
		var body keyvault.CertificatePolicy
		if err := decodeBody(r.Body, &body); err != nil {
			return nil, err
		}
		p, err := c.UpdateCertificatePolicy(ctx, name, body.As())
		return []facts{factsOfCertificatePolicy(p)}, err
	case "DELETE certificates/{name}":
		return oneDeleted(c.DeleteCertificate(ctx, name))
	case "GET deletedcertificates/{name}":
		return oneDeleted(c.GetDeletedCertificate(ctx, name))
	case "DELETE deletedcertificates/{name}":
		return nil, c.PurgeCertificate(ctx, name)
	case "POST deletedcertificates/{name}/recover":
		return one(c.RecoverCertificate(ctx, name))
	case "POST certificates/{name}/backup":
		blob, err := c.BackupCertificate(ctx, name)
		return []facts{{"value": base64URL(blob.Reveal())}}, err
	case "POST certificates/restore":
		var body keyvault.Backup
		if err := decodeBody(r.Body, &body); err != nil {
			return nil, err
		}
		return one(c.RestoreCertificate(ctx, p.vault, body.Value.Value))
	case "GET certificates":
		l, err := c.ListCertificates(ctx, p.vault, page)
		return factsOfAll(l.Certificates, factsOfCertificate), err
	case "GET certificates/{name}/versions":
		l, err := c.ListCertificateVersions(ctx, name)
		return factsOfAll(l, factsOfCertificate), err
	case "GET deletedcertificates":
		l, err := c.ListDeletedCertificates(ctx, p.vault, page)
		return factsOfAll(l.Certificates, factsOfDeletedCertificate), err
	case "GET certificates/contacts":
		return contacts(c.GetCertificateContacts(ctx, p.vault))
	case "DELETE certificates/contacts":
		return contacts(c.DeleteCertificateContacts(ctx, p.vault))
	case "PUT certificates/contacts":
		var body keyvault.Contacts
		if err := decodeBody(r.Body, &body); err != nil {
			return nil, err
		}
		return contacts(c.SetCertificateContacts(ctx, p.vault, body.As()))
	case "GET certificates/issuers":
		l, err := c.ListCertificateIssuers(ctx, p.vault, page)
		return factsOfAll(l.Issuers, factsOfIssuer), err
	}
	if len(parts) == 3 && r.Method == http.MethodGet && parts[1] == "issuers" {
		issuer, err := p.vault.Object(broker.KindCertificateIssuers, parts[2])
		if err != nil {
			return nil, err
		}
		i, err := c.GetCertificateIssuer(ctx, issuer)
		f := factsOfIssuer(i)
		f["attributes.created"], f["attributes.updated"] = strconv.FormatInt(i.Created.Unix(), 10), strconv.FormatInt(i.Updated.Unix(), 10)
		f["attributes.enabled"] = strconv.FormatBool(i.Enabled)
		return []facts{f}, err
	}
	return nil, fmt.Errorf("no operation of the client is %s %s", r.Method, u.Path)
}

// recordedCertificateFacts reads a body as the vault wrote it.
func recordedCertificateFacts(body json.RawMessage) ([]facts, error) {
	if len(body) == 0 {
		return nil, nil
	}
	var whole map[string]any
	if err := json.Unmarshal(body, &whole); err != nil {
		return nil, err
	}
	items, isList := whole["value"].([]any)
	if !isList {
		items = []any{whole}
	}
	var all []facts
	for _, item := range items {
		o, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("an item that is a %T", item)
		}
		f := make(facts)
		for _, name := range []string{
			"value", "x5t", "cer", "csr", "status", "status_details", "request_id", "cancellation_requested", "provider",
			"deletedDate", "scheduledPurgeDate",
		} {
			f.add(name, o[name])
		}
		if s, _ := o["subject"].(string); s != "" {
			f["subject"] = s
		}
		if policy, ok := o["policy"].(map[string]any); ok {
			f["policy"] = policyText(policy)
		}
		if o["key_props"] != nil {
			all = append(all, facts{"policy": policyText(o)})
			continue
		}
		if contacts, ok := o["contacts"].([]any); ok {
			var list []broker.CertificateContact
			for _, one := range contacts {
				c, _ := one.(map[string]any)
				list = append(list, broker.CertificateContact{
					Email: fmt.Sprint(c["email"]), Name: fmt.Sprint(c["name"]), Phone: fmt.Sprint(c["phone"]),
				})
			}
			all = append(all, facts{"contacts": fmt.Sprint(list)})
			continue
		}
		if issuer, ok := o["issuer"].(map[string]any); ok {
			f.add("issuer", issuer["name"])
		}
		for _, group := range []string{"attributes", "tags"} {
			fields, _ := o[group].(map[string]any)
			for name, v := range fields {
				f.add(group+"."+name, v)
			}
		}
		for _, id := range []string{"id", "kid", "sid", "target"} {
			text, ok := o[id].(string)
			if !ok {
				continue
			}
			u, err := url.Parse(text)
			if err != nil {
				return nil, err
			}
			parts := strings.Split(strings.Trim(strings.ToLower(u.Path), "/"), "/")
			switch {
			case id != "id":
				f[id] = strings.Join(parts, "/")
			case parts[1] == "issuers":
				f["name"] = parts[2]
			default:
				f["name"] = parts[1]
				if len(parts) == 3 && o["deletedDate"] == nil && parts[2] != "pending" {
					f["version"] = parts[2]
				}
			}
		}
		all = append(all, f)
	}
	return all, nil
}

// policyText returns a policy, but for its id, as text that can be compared.
func policyText(policy map[string]any) string {
	own := maps.Clone(policy)
	delete(own, "id")
	text, err := json.Marshal(own)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// factsOfCertificatePolicy goes through what the client read.
func factsOfCertificatePolicy(p broker.CertificatePolicy) facts {
	text, err := json.Marshal(keyvault.FromCertificatePolicy("", p))
	if err != nil {
		return facts{"policy": err.Error()}
	}
	var whole map[string]any
	if err := json.Unmarshal(text, &whole); err != nil {
		return facts{"policy": err.Error()}
	}
	return facts{"policy": policyText(whole)}
}

// factsOfCertificate reads a certificate as the client returned it.
func factsOfCertificate(c broker.Certificate) facts {
	f := factsOf(broker.Secret{
		Name: c.Name, Tags: c.Tags, Enabled: c.Enabled, NotBefore: c.NotBefore, Expires: c.Expires,
		Created: c.Created, Updated: c.Updated, RecoveryLevel: c.RecoveryLevel, RecoverableDays: c.RecoverableDays,
	})
	if len(c.Thumbprint) > 0 {
		f["x5t"] = base64URL(string(c.Thumbprint))
	}
	if len(c.DER) > 0 {
		f["cer"] = base64.StdEncoding.EncodeToString(c.DER)
	}
	if c.Subject != "" {
		f["subject"] = c.Subject
	}
	if !c.Key.IsZero() {
		f["kid"] = "keys/" + c.Key.ObjectName() + "/" + c.Key.Version()
	}
	if !c.Secret.IsZero() {
		f["sid"] = "secrets/" + c.Secret.ObjectName() + "/" + c.Secret.Version()
	}
	if c.Policy != nil {
		f["policy"] = factsOfCertificatePolicy(*c.Policy)["policy"]
	}
	return f
}

func factsOfDeletedCertificate(c broker.DeletedCertificate) facts {
	f := factsOfCertificate(c.Certificate)
	f["deletedDate"] = strconv.FormatInt(c.Deleted.Unix(), 10)
	f["scheduledPurgeDate"] = strconv.FormatInt(c.Purges.Unix(), 10)
	return f
}

func factsOfOperation(o broker.CertificateOperation) facts {
	f := facts{
		"name": o.Name.ObjectName(), "issuer": o.Issuer, "csr": base64.StdEncoding.EncodeToString(o.CSR), "status": o.Status,
		"request_id": o.RequestID, "cancellation_requested": strconv.FormatBool(o.CancellationRequested),
	}
	if o.StatusDetails != "" {
		f["status_details"] = o.StatusDetails
	}
	if !o.Target.IsZero() {
		f["target"] = "certificates/" + o.Target.ObjectName()
	}
	return f
}

func factsOfIssuer(i broker.CertificateIssuer) facts {
	return facts{"name": i.Name.ObjectName(), "provider": i.Provider}
}

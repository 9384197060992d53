package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
	"github.com/keyward/keyward/broker/policy"
)

// onlineTimeout bounds what --check --online asks of each vault. It is longer
// than a token cache tries to get a token.
const onlineTimeout = 30 * time.Second

// checkOnline asks each vault for what the broker will ask it for, and changes
// nothing.
func (w wiring) checkOnline(a *app, policies *policy.Engine) error {
	if !w.log.Enabled(a.ctx, slog.LevelDebug) {
		w.log = slog.New(slog.DiscardHandler) // what is wrong is said once, below
	}
	tel, err := newTelemetry(a.ctx, func(string) string { return "" }, w.log)
	if err != nil {
		return err
	}
	defer tel.close(w.log)
	for alias, v := range w.config.Vaults {
		if v.Local != nil { // to open it would change it, and a broker may have it open
			fmt.Fprintf(a.out, "vault %s: embedded, not opened\n", alias)
			delete(w.config.Vaults, alias)
		}
	}
	v, err := w.openVaults(a.ctx, tel)
	if err != nil {
		return err
	}
	defer v.close() //nolint:errcheck // nothing was written
	var failed []error
	for _, alias := range slices.Sorted(maps.Keys(v.open)) {
		faults, err := tryVault(a.ctx, alias, v.open[alias].Client, v.open[alias].config.Kind == kindManagedHSM, policies)
		if err != nil {
			return err
		}
		for _, f := range faults {
			failed = append(failed, fmt.Errorf("vault %s: %s", alias, f))
		}
		if len(faults) == 0 {
			fmt.Fprintf(a.out, "vault %s: ok\n", alias)
		}
	}
	return errors.Join(failed...)
}

// A trial is what is asked of a vault about one kind of objects: a list with the
// metadata of what it finds, and one that is not there. The vault looks at
// permissions before it looks for the object, so that no value has to be read.
type trial struct {
	kind     broker.Kind
	list     func(ctx context.Context, c *keyvault.Client, vault broker.Name) error
	get      func(ctx context.Context, c *keyvault.Client, absent broker.Name) error
	notFound broker.Code
}

var (
	trialOfSecrets = trial{broker.KindSecrets, listSecret, getSecret, broker.CodeSecretNotFound}
	trialOfKeys    = trial{broker.KindKeys, listKey, getKey, broker.CodeKeyNotFound}

	trialOfCertificates = trial{broker.KindCertificates, listCertificate, getCertificate, broker.CodeCertificateNotFound}
)

// trialsOf are those of the kinds that a vault has and policies may permit
// something with; where that is none, of what a vault is mostly for.
func trialsOf(vault broker.Name, hsm bool, policies *policy.Engine) []trial {
	if hsm {
		return []trial{trialOfKeys}
	}
	var all []trial
	for _, t := range []trial{trialOfSecrets, trialOfKeys, trialOfCertificates} {
		if policies.MayPermit(vault, t.kind) {
			all = append(all, t)
		}
	}
	if len(all) == 0 {
		all = append(all, trialOfSecrets)
	}
	return all
}

// tryVault returns what is wrong with a vault, a line each.
func tryVault(ctx context.Context, alias string, c *keyvault.Client, hsm bool, policies *policy.Engine) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, onlineTimeout)
	defer cancel()
	vault, err := broker.VaultName(alias)
	if err != nil {
		return nil, err
	}
	var faults []string
	for _, t := range trialsOf(vault, hsm, policies) {
		absent, err := vault.Object(t.kind, "keyward-check-"+strings.ToLower(rand.Text()))
		if err != nil {
			return nil, err
		}
		if err = t.list(ctx, c, vault); err != nil {
			faults = append(faults, remedy(err))
			if refused, ok := errors.AsType[*keyvault.RefusedError](err); !ok || refused.Permission == "" {
				break // whatever is asked next, the vault would say the same
			}
		}
		if err = t.get(ctx, c, absent); err != nil && broker.CodeOf(err) != t.notFound {
			faults = append(faults, remedy(err))
		}
	}
	return slices.Compact(faults), nil
}

func listSecret(ctx context.Context, c *keyvault.Client, vault broker.Name) error {
	list, err := c.ListSecrets(ctx, vault, broker.Page{Size: 1})
	if err == nil && len(list.Secrets) > 0 {
		_, err = c.ListSecretVersions(ctx, list.Secrets[0].Name.Base())
	}
	return err
}

func getSecret(ctx context.Context, c *keyvault.Client, absent broker.Name) error {
	_, err := c.GetSecret(ctx, absent)
	return err
}

func listKey(ctx context.Context, c *keyvault.Client, vault broker.Name) error {
	list, err := c.ListKeys(ctx, vault, broker.Page{Size: 1})
	if err == nil && len(list.Keys) > 0 {
		_, err = c.ListKeyVersions(ctx, list.Keys[0].Name.Base())
	}
	return err
}

func getKey(ctx context.Context, c *keyvault.Client, absent broker.Name) error {
	_, err := c.GetKey(ctx, absent)
	return err
}

func listCertificate(ctx context.Context, c *keyvault.Client, vault broker.Name) error {
	list, err := c.ListCertificates(ctx, vault, broker.Page{Size: 1})
	if err == nil && len(list.Certificates) > 0 {
		_, err = c.ListCertificateVersions(ctx, list.Certificates[0].Name.Base())
	}
	return err
}

func getCertificate(ctx context.Context, c *keyvault.Client, absent broker.Name) error {
	_, err := c.GetCertificate(ctx, absent)
	return err
}

// remedy says in one line what is wrong, and what to do.
func remedy(err error) string {
	if refused, ok := errors.AsType[*keyvault.RefusedError](err); ok {
		return refusedRemedy(refused)
	}
	if unreached := networkRemedy(err); unreached != "" {
		if _, ofToken := errors.AsType[*keyvault.TokenError](err); ofToken {
			return "the token endpoint " + unreached
		}
		return "the vault " + unreached
	}
	if broker.CodeOf(err) == broker.CodeDeadlineExceeded {
		return "it does not answer in time; check the way out of this network, HTTPS_PROXY and the vault's private endpoint"
	}
	return err.Error()
}

// refusedRemedy is a vault's answer, and what to do about it.
func refusedRemedy(e *keyvault.RefusedError) string {
	code := fmt.Sprintf("%d %s", e.Status, e.Code)
	if e.Inner != "" {
		code += "/" + e.Inner
	}
	switch {
	case e.Inner == keyvault.InnerForbiddenByRbac:
		return code + ": the identity lacks " + cmp.Or(e.Permission, "a data action") + "; assign it the role " + roleFor(e.Permission) +
			" on the vault, which takes some minutes to be heeded" + unlessNone(e.Permission)
	case strings.Contains(e.Permission, "/managedHsm/"):
		return code + ": the identity lacks " + e.Permission + "; assign it the role " + roleFor(e.Permission) +
			" in the HSM itself (az keyvault role assignment create --hsm-name): Azure's own roles give no access to keys there"
	case e.Inner == keyvault.InnerAccessDenied:
		flag := "--secret-permissions"
		switch kind, _, _ := strings.Cut(e.Permission, " "); kind {
		case "keys":
			flag = "--key-permissions"
		case "certificates":
			flag = "--certificate-permissions"
		}
		return code + ": the vault's access policies do not give the identity " + cmp.Or(e.Permission, "the permission") +
			"; add it (az keyvault set-policy " + flag + " get list), or switch the vault to RBAC" + unlessNone(e.Permission)
	case e.Inner == keyvault.InnerForbiddenByFirewall, e.Inner == keyvault.InnerForbiddenByConnection:
		return code + ": the vault's network settings do not let this host in; allow its address or subnet there, or use the private endpoint"
	case e.Inner == keyvault.InnerForbiddenByPolicy:
		return code + ": the access policy is for callers on behalf of a user; add one for the identity alone"
	case e.Detail == "AKV10032":
		return "401 AKV10032: the token is of another tenant than the vault's; check tenantId, and which tenant the vault's subscription is in"
	case e.Detail == "AKV10022":
		return "401 AKV10022: the token is for another audience; check that url names a vault of the cloud that the tokens come from"
	case e.Status == http.StatusUnauthorized:
		return e.Error() + "; check that url and authority are of one cloud and one tenant, and set this host's clock"
	case e.Status == http.StatusBadRequest && e.Code == keyvault.ErrorBadParameter:
		return e.Error() + "; leave apiVersion out, or name one that the vault knows"
	case e.Status == http.StatusTooManyRequests:
		return e.Error() + "; try again in a minute"
	case e.Code == "":
		return e.Error() + "; this is not how a Key Vault answers: check url, and any proxy on the way"
	}
	return e.Error()
}

// networkRemedy is what to do where nothing answers, to follow a subject. It is
// "" for other errors.
func networkRemedy(err error) string {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "has a host name that cannot be resolved here: check url (or authority), and with a private endpoint that this host's DNS resolves it"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "has a certificate that this host does not trust: name its CA as caFile; " +
			"if a proxy opens TLS on the way, let it pass this host through, or name the proxy's CA"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		if op.Op == "proxyconnect" {
			return "is behind a proxy that cannot be used: check HTTPS_PROXY and NO_PROXY"
		}
		if op.Op == "dial" {
			return "cannot be connected to: check its port, the firewall and HTTPS_PROXY"
		}
	}
	return ""
}

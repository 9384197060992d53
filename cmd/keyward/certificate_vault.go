package main

import (
	"fmt"
	"path"
	"strings"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type certificateContactsCmd struct {
	clientFlags

	Set  []string `sep:"none" xor:"change" placeholder:"EMAIL" help:"Write to EMAIL, or EMAIL=NAME. May be repeated; all earlier contacts go."`
	None bool     `xor:"change" help:"Write to nobody."`
}

// Help shows examples.
func (*certificateContactsCmd) Help() string {
	return `Without flags the contacts are shown. The local vault keeps them, and writes to nobody.

  keyward certificate contacts
  keyward certificate contacts --set 'pki@example.org=PKI on call'
  keyward certificate contacts --none` + exitCodes
}

// Run shows or changes a vault's contacts.
func (c *certificateContactsCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		vault, err := cl.vaultName()
		if err != nil {
			return err
		}
		var all *keywardv1.CertificateContacts
		switch {
		case c.None:
			all, err = cl.certificates.DeleteCertificateContacts(a.ctx, &keywardv1.DeleteCertificateContactsRequest{Name: vault})
			if err == nil && c.Output != outputJSON {
				_, err = fmt.Fprintf(a.out, "removed %d\n", len(all.GetContacts()))
				return err
			}
		case len(c.Set) > 0:
			wanted := &keywardv1.CertificateContacts{}
			for _, s := range c.Set {
				email, name, _ := strings.Cut(s, "=")
				wanted.Contacts = append(wanted.Contacts, &keywardv1.CertificateContact{Email: email, DisplayName: name})
			}
			all, err = cl.certificates.UpdateCertificateContacts(a.ctx, &keywardv1.UpdateCertificateContactsRequest{Name: vault, CertificateContacts: wanted})
		default:
			all, err = cl.certificates.GetCertificateContacts(a.ctx, &keywardv1.GetCertificateContactsRequest{Name: vault})
		}
		if err != nil {
			return err
		}
		if c.Output == outputJSON {
			return printJSON(a.out, all)
		}
		if len(all.GetContacts()) == 0 {
			fmt.Fprintf(a.err, "%s has no contacts\n", vault)
			return nil
		}
		rows := make([][]string, 0, len(all.GetContacts()))
		for _, contact := range all.GetContacts() {
			rows = append(rows, []string{contact.GetEmail(), contact.GetDisplayName(), contact.GetPhone()})
		}
		return printTable(a.out, []string{"EMAIL", "NAME", "PHONE"}, rows)
	})
}

type certificateIssuersCmd struct {
	clientFlags

	Name string `arg:"" optional:"" help:"The issuer to show. Default: all."`
}

// Help shows examples.
func (*certificateIssuersCmd) Help() string {
	return `Issuers are set up elsewhere; the local vault has none but Self and Unknown, which every vault has and which are not listed.

  keyward certificate issuers
  keyward certificate issuers digicert -o json` + exitCodes
}

// Run lists a vault's issuers, or shows one.
func (c *certificateIssuersCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		vault, err := cl.vaultName()
		if err != nil {
			return err
		}
		all := &keywardv1.ListCertificateIssuersResponse{}
		if c.Name != "" {
			one, err := cl.certificates.GetCertificateIssuer(a.ctx, &keywardv1.GetCertificateIssuerRequest{Name: vault + "/certificateIssuers/" + c.Name})
			switch {
			case err != nil:
				return err
			case c.Output == outputJSON:
				return printJSON(a.out, one)
			}
			all.CertificateIssuers = append(all.CertificateIssuers, one)
		} else {
			for request := (&keywardv1.ListCertificateIssuersRequest{Parent: vault, PageSize: listPage}); ; {
				page, err := cl.certificates.ListCertificateIssuers(a.ctx, request)
				if err != nil {
					return err
				}
				all.CertificateIssuers = append(all.CertificateIssuers, page.GetCertificateIssuers()...)
				if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
					break
				}
			}
		}
		if c.Output == outputJSON {
			return printJSON(a.out, all)
		}
		if len(all.GetCertificateIssuers()) == 0 {
			fmt.Fprintf(a.err, "%s has no issuers\n", vault)
			return nil
		}
		rows := make([][]string, 0, len(all.GetCertificateIssuers()))
		for _, i := range all.GetCertificateIssuers() {
			rows = append(rows, []string{path.Base(i.GetName()), i.GetProvider(), i.GetOrganizationId(), enabledText(i.GetEnabled())})
		}
		return printTable(a.out, []string{"NAME", "PROVIDER", "ORGANIZATION", "ENABLED"}, rows)
	})
}

package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// certificatePolicyFlags are a certificate's policy. What is not given is left to the
// vault, or as it is.
type certificatePolicyFlags struct {
	Subject  string   `placeholder:"DN" help:"The distinguished name, such as \"CN=example.org\". Default: CN= and the first --dns, or none."`
	DNS      []string `name:"dns" sep:"none" placeholder:"NAME" help:"A host name that it is for. May be repeated."`
	IP       []string `name:"ip" sep:"none" placeholder:"ADDRESS" help:"An address that it is for. May be repeated."`
	Email    []string `sep:"none" placeholder:"ADDRESS" help:"A mail address that it is for. May be repeated."`
	URI      []string `name:"uri" sep:"none" placeholder:"URI" help:"A URI that it is for, such as a SPIFFE ID. May be repeated."`
	UPN      []string `name:"upn" sep:"none" placeholder:"NAME" help:"A user principal name. May be repeated."`
	Issuer   string   `placeholder:"ISSUER" help:"Who signs it: Self, Unknown, or one of the vault's issuers."`
	Months   int32    `placeholder:"N" help:"How long it is valid, 1 to 1200 months."`
	Type     string   `enum:",EC,RSA,EC-HSM,RSA-HSM" default:"" placeholder:"TYPE" help:"The key's type: RSA or EC; with -HSM behind it one that never leaves a hardware security module."`
	Size     int32    `placeholder:"BITS" help:"RSA: 2048, 3072 or 4096."`
	Curve    string   `enum:",P-256,P-384,P-521,P-256K" default:"" placeholder:"CURVE" help:"EC: P-256, P-384, P-521 or P-256K. Implies --type EC for a new certificate."`
	Usage    []string `placeholder:"USAGE" help:"What the key is for, such as digitalSignature or keyCertSign. May be repeated."`
	EKU      []string `name:"eku" placeholder:"OID" help:"What the certificate is for: server, client, or an object identifier. May be repeated."`
	CA       *bool    `name:"ca" negatable:"" help:"Let it sign other certificates."`
	Export   *bool    `negatable:"" help:"Let the private key be downloaded."`
	ReuseKey *bool    `negatable:"" help:"Keep the key when the certificate is renewed."`
	Content  string   `enum:",pfx,pem" default:"" placeholder:"FORM" help:"How the secret behind it holds it: pfx or pem."`

	RenewAt     int32 `xor:"renew" placeholder:"PERCENT" help:"Renew it at this part of its life, 1 to 99."`
	RenewBefore int32 `xor:"renew" placeholder:"DAYS" help:"Renew it this many days before it expires."`
	MailAt      int32 `xor:"renew" placeholder:"PERCENT" help:"Do not renew it, but write to the vault's contacts at this part of its life."`
}

// Object identifiers of RFC 5280 section 4.2.1.12.
var ekuNames = map[string]string{"server": "1.3.6.1.5.5.7.3.1", "client": "1.3.6.1.5.5.7.3.2"}

var contentTypes = map[string]string{"pfx": "application/x-pkcs12", "pem": "application/x-pem-file"}

func (f *certificatePolicyFlags) policy() *keywardv1.CertificatePolicy {
	p := &keywardv1.CertificatePolicy{
		Subject: f.Subject, IssuerName: f.Issuer, ValidityMonths: f.Months,
		Kty: f.Type, KeySize: f.Size, Crv: f.Curve, KeyUsages: f.Usage,
		CertificateAuthority: f.CA, Exportable: f.Export, ReuseKey: f.ReuseKey, ContentType: contentTypes[f.Content],
	}
	for _, e := range f.EKU {
		if oid, ok := ekuNames[e]; ok {
			e = oid
		}
		p.ExtendedKeyUsages = append(p.ExtendedKeyUsages, e)
	}
	if len(f.DNS)+len(f.IP)+len(f.Email)+len(f.URI)+len(f.UPN) > 0 {
		p.SubjectAlternativeNames = &keywardv1.SubjectAlternativeNames{
			DnsNames: f.DNS, IpAddresses: f.IP, Emails: f.Email, Uris: f.URI, Upns: f.UPN,
		}
	}
	switch {
	case f.RenewAt != 0 || f.RenewBefore != 0:
		p.LifetimeActions = []*keywardv1.CertificateLifetimeAction{{Type: "AutoRenew", LifetimePercentage: f.RenewAt, DaysBeforeExpiry: f.RenewBefore}}
	case f.MailAt != 0:
		p.LifetimeActions = []*keywardv1.CertificateLifetimeAction{{Type: "EmailContacts", LifetimePercentage: f.MailAt}}
	}
	return p
}

// given: any flag is.
func (f *certificatePolicyFlags) given() bool {
	return f.Subject+f.Issuer+f.Type+f.Curve+f.Content != "" ||
		len(f.DNS)+len(f.IP)+len(f.Email)+len(f.URI)+len(f.UPN)+len(f.Usage)+len(f.EKU) > 0 ||
		f.Months != 0 || f.Size != 0 || f.RenewAt != 0 || f.RenewBefore != 0 || f.MailAt != 0 ||
		f.CA != nil || f.Export != nil || f.ReuseKey != nil
}

type certificatePolicyCmd struct {
	clientFlags
	certificateArg
	certificatePolicyFlags
}

// Help shows examples.
func (*certificatePolicyCmd) Help() string {
	return `Without flags the policy is shown. What a flag names changes for the next version, and what none names stays as it is; the version that is there does not change.

  keyward certificate policy web
  keyward certificate policy web --months 3 --renew-at 70
  keyward certificate policy web --dns example.org --dns www.example.org` + exitCodes
}

// Run shows or changes a policy.
func (c *certificatePolicyCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.certificateName(c.Name, "")
		if err != nil {
			return err
		}
		var p *keywardv1.CertificatePolicy
		if c.given() {
			p, err = cl.certificates.UpdateCertificatePolicy(a.ctx, &keywardv1.UpdateCertificatePolicyRequest{Name: name, Policy: c.policy()})
		} else {
			p, err = cl.certificates.GetCertificatePolicy(a.ctx, &keywardv1.GetCertificatePolicyRequest{Name: name})
		}
		if err != nil {
			return err
		}
		if c.Output == outputJSON {
			return printJSON(a.out, p)
		}
		return printPolicy(a.out, p)
	})
}

func printPolicy(w io.Writer, p *keywardv1.CertificatePolicy) error {
	san := p.GetSubjectAlternativeNames()
	join := func(all ...[]string) string {
		var out []string
		for _, s := range all {
			out = append(out, s...)
		}
		return strings.Join(out, ", ")
	}
	size := p.GetCrv()
	if p.GetKeySize() != 0 {
		size = strconv.Itoa(int(p.GetKeySize()))
	}
	rows := [][]string{
		{"issuer", p.GetIssuerName()},
		{"subject", p.GetSubject()},
		{"names", join(san.GetDnsNames(), san.GetIpAddresses(), san.GetEmails(), san.GetUris(), san.GetUpns())},
		{"months", strconv.Itoa(int(p.GetValidityMonths()))},
		{"key", strings.TrimSpace(p.GetKty() + " " + size)},
		{"key usage", join(p.GetKeyUsages())},
		{"extended", join(p.GetExtendedKeyUsages())},
		{"signs others", enabledText(p.GetCertificateAuthority())},
		{"exportable", enabledText(p.GetExportable())},
		{"reuses key", enabledText(p.GetReuseKey())},
		{"secret", p.GetContentType()},
	}
	for _, action := range p.GetLifetimeActions() {
		at := fmt.Sprintf("at %d %% of its life", action.GetLifetimePercentage())
		if action.GetDaysBeforeExpiry() != 0 {
			at = fmt.Sprintf("%d days before it expires", action.GetDaysBeforeExpiry())
		}
		rows = append(rows, []string{action.GetType(), at})
	}
	return printTable(w, []string{"POLICY", ""}, rows)
}

var errNoSubject = errors.New("whom is it for? name hosts with --dns, others with --ip, --email, --uri or --upn, or a distinguished name with --subject")

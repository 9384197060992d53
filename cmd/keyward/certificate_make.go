package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// newCertificateFlags are what is known of a new version.
type newCertificateFlags struct {
	Tag      map[string]string `mapsep:"none" placeholder:"KEY=VALUE" help:"A tag. May be repeated; tags of an earlier version are not kept."`
	Disabled bool              `help:"Make a version whose key and secret cannot be used until it is enabled."`
}

type certificateCreateCmd struct {
	clientFlags
	certificateArg
	certificatePolicyFlags
	newCertificateFlags

	ETag string        `name:"etag" placeholder:"ETAG" help:"Only if this is still the etag of the latest version, as keyward certificate get -o json shows it."`
	Wait time.Duration `default:"1m" help:"How long to wait until it is made (${default}); 0s returns at once."`
}

// Help shows examples.
func (*certificateCreateCmd) Help() string {
	return `The certificate signs itself (--issuer Self, the default here), and its full name is printed once it is made. With --issuer Unknown its signing request is printed, as PEM, for somebody else to sign and for keyward certificate merge to complete. With an issuer of the vault it may take longer than the wait: look with keyward certificate operation get.

Without flags about the policy, another version is made by the policy that is there.

  keyward certificate create web --dns example.org --dns www.example.org
  keyward certificate create api --subject CN=api.example.org --type EC --curve P-256 --months 3 --renew-at 70
  keyward certificate create web --dns example.org --issuer Unknown > web.csr
  keyward certificate create web` + exitCodes
}

// Run creates a certificate and waits for it.
func (c *certificateCreateCmd) Run(a *app) error {
	var p *keywardv1.CertificatePolicy // nil for the one that is there
	if c.given() {
		var err error
		if p, err = c.newPolicy(); err != nil {
			return err
		}
	}
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.certificateName(c.Name, "")
		if err != nil {
			return err
		}
		op, err := cl.certificates.CreateCertificate(a.ctx, &keywardv1.CreateCertificateRequest{
			Name: name, Policy: p, Tags: c.Tag, Enabled: new(!c.Disabled), Etag: c.ETag,
		})
		if err != nil {
			return err
		}
		if op.GetIssuerName() != broker.IssuerUnknown {
			if op, err = cl.awaitOperation(a.ctx, op, c.Wait); err != nil {
				return err
			}
		}
		return c.print(a, cl, op)
	})
}

// newPolicy returns the policy of what is made.
func (c *certificateCreateCmd) newPolicy() (*keywardv1.CertificatePolicy, error) {
	p := c.policy()
	p.IssuerName = cmp.Or(p.GetIssuerName(), broker.IssuerSelf)
	if p.GetKty() == "" && p.GetCrv() != "" {
		p.Kty = string(broker.KeyTypeEC)
	}
	switch {
	case p.GetSubject() != "":
	case len(c.DNS) > 0:
		p.Subject = "CN=" + c.DNS[0]
	case p.GetSubjectAlternativeNames() == nil:
		return nil, errNoSubject
	}
	return p, nil
}

// print prints what the operation came to.
func (c *certificateCreateCmd) print(a *app, cl *client, op *keywardv1.CertificateOperation) error {
	switch {
	case c.Output == outputJSON:
		return printJSON(a.out, op)
	case op.GetStatus() == broker.OperationCompleted:
		made, err := cl.certificates.GetCertificate(a.ctx, &keywardv1.GetCertificateRequest{Name: op.GetName()})
		if err != nil { // who may make it need not be who may look at it
			_, err = fmt.Fprintln(a.out, op.GetName())
			return err
		}
		return printCertificate(a.out, c.Output, made)
	case op.GetIssuerName() == broker.IssuerUnknown:
		_, err := io.WriteString(a.out, op.GetCsrPem())
		fmt.Fprintf(a.err, "have it signed, and then: keyward certificate merge %s FILE\n", op.GetName())
		return err
	case !op.GetDone():
		_, err := fmt.Fprintf(a.out, "%s is being made; see: keyward certificate operation get %s\n", op.GetName(), op.GetName())
		return err
	}
	return operationError(op)
}

func operationError(op *keywardv1.CertificateOperation) error {
	what := fmt.Sprintf("the making of %s is %s", op.GetName(), op.GetStatus())
	if m := op.GetErrorMessage(); m != "" {
		what += ": " + printable(m) + " (" + printable(op.GetErrorCode()) + ")"
	}
	return errors.New(what)
}

// awaitOperation polls until the operation is done, or for as long as wait.
func (c *client) awaitOperation(ctx context.Context, op *keywardv1.CertificateOperation, wait time.Duration) (*keywardv1.CertificateOperation, error) {
	const first, most = 50 * time.Millisecond, 5 * time.Second
	end := time.Now().Add(wait)
	for pause := first; !op.GetDone() && time.Now().Before(end); pause = min(2*pause, most) {
		timer := time.NewTimer(min(pause, time.Until(end)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return op, advise("interrupted", "the certificate is still being made: keyward certificate operation get "+op.GetName())
		case <-timer.C:
		}
		now, err := c.certificates.GetCertificateOperation(ctx, &keywardv1.GetCertificateOperationRequest{Name: op.GetName()})
		if err != nil {
			return op, err
		}
		op = now
	}
	return op, nil
}

type certificateOperationCmd struct {
	Get    operationGetCmd    `cmd:"" help:"Show how far the making of a certificate is."`
	Cancel operationCancelCmd `cmd:"" help:"Ask for it to end."`
	Delete operationDeleteCmd `cmd:"" help:"Remove it; what it made stays."`
}

// operationFlags are those of the commands for an operation.
type operationFlags struct {
	clientFlags
	certificateArg
}

func (f *operationFlags) run(a *app, call func(cl *client, name string) (*keywardv1.CertificateOperation, error)) error {
	return withClient(a, f.callFlags, func(cl *client) error {
		name, err := cl.certificateName(f.Name, "")
		if err != nil {
			return err
		}
		op, err := call(cl, name)
		if err != nil {
			return err
		}
		if f.Output == outputJSON {
			return printJSON(a.out, op)
		}
		why := op.GetErrorMessage()
		if why == "" {
			why = op.GetStatusDetails()
		}
		return printTable(a.out, []string{"STATUS", "ISSUER", "DETAILS"}, [][]string{{op.GetStatus(), op.GetIssuerName(), why}})
	})
}

type operationGetCmd struct {
	operationFlags

	CSR bool `name:"csr" help:"Print the signing request as PEM."`
}

// Help shows examples.
func (*operationGetCmd) Help() string {
	return `A certificate has one operation at most, the latest.

  keyward certificate operation get web
  keyward certificate operation get web --csr > web.csr` + exitCodes
}

// Run shows an operation.
func (c *operationGetCmd) Run(a *app) error {
	get := func(cl *client, name string) (*keywardv1.CertificateOperation, error) {
		return cl.certificates.GetCertificateOperation(a.ctx, &keywardv1.GetCertificateOperationRequest{Name: name})
	}
	if !c.CSR {
		return c.run(a, get)
	}
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.certificateName(c.Name, "")
		if err != nil {
			return err
		}
		op, err := get(cl, name)
		if err != nil {
			return err
		}
		_, err = io.WriteString(a.out, op.GetCsrPem())
		return err
	})
}

type operationCancelCmd struct{ operationFlags }

// Help shows an example.
func (*operationCancelCmd) Help() string {
	return `One that is done stays as it is.

  keyward certificate operation cancel web` + exitCodes
}

// Run cancels an operation.
func (c *operationCancelCmd) Run(a *app) error {
	return c.run(a, func(cl *client, name string) (*keywardv1.CertificateOperation, error) {
		return cl.certificates.CancelCertificateOperation(a.ctx, &keywardv1.CancelCertificateOperationRequest{Name: name})
	})
}

type operationDeleteCmd struct{ operationFlags }

// Help shows an example.
func (*operationDeleteCmd) Help() string {
	return `A signing request that nobody signed is removed so, and makes way for another.

  keyward certificate operation delete web` + exitCodes
}

// Run removes an operation.
func (c *operationDeleteCmd) Run(a *app) error {
	return c.run(a, func(cl *client, name string) (*keywardv1.CertificateOperation, error) {
		return cl.certificates.DeleteCertificateOperation(a.ctx, &keywardv1.DeleteCertificateOperationRequest{Name: name})
	})
}

type certificateMergeCmd struct {
	clientFlags
	certificateArg
	newCertificateFlags

	File string `arg:"" optional:"" complete:"files" help:"The file with the signed certificate and its chain, PEM or DER. Default: standard input."`
}

// Help shows examples.
func (*certificateMergeCmd) Help() string {
	return `The first certificate must be of the signing request's key; its chain follows it.

  keyward certificate create web --dns example.org --issuer Unknown > web.csr
  openssl x509 -req -in web.csr -CA ca.pem -CAkey ca-key.pem -copy_extensions copy -out web.pem
  keyward certificate merge web web.pem` + exitCodes
}

// Run merges a certificate.
func (c *certificateMergeCmd) Run(a *app) error {
	chain, err := readChain(a, c.File)
	if err != nil {
		return err
	}
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.certificateName(c.Name, "")
		if err != nil {
			return err
		}
		made, err := cl.certificates.MergeCertificate(a.ctx, &keywardv1.MergeCertificateRequest{
			Name: name, X509Certificates: chain, Tags: c.Tag, Enabled: new(!c.Disabled),
		})
		if err != nil {
			return err
		}
		return printCertificate(a.out, c.Output, made)
	})
}

// readChain returns the certificates in a file, DER.
func readChain(a *app, file string) ([][]byte, error) {
	data, err := readData(a, "certificate", file, broker.MaxCertificateMaterial)
	switch {
	case err != nil:
		return nil, err
	case data.Len() == 0:
		return nil, advise("the certificate is empty; nothing was merged", "name its file, or pipe it in")
	case data.Len() > broker.MaxCertificateMaterial:
		return nil, errors.New("the file is larger than 64 KiB, which no chain is")
	}
	var chain [][]byte
	for rest := []byte(data.Reveal()); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			chain = append(chain, block.Bytes)
		}
	}
	if chain == nil { // DER, then, or what the broker says it is not
		chain = [][]byte{[]byte(data.Reveal())}
	}
	return chain, nil
}

// unreadable adds to a refusal what is wrong with the file, as far as it can be
// seen here: a vault does not say.
func unreadable(err error, r *keywardv1.ImportCertificateRequest) error {
	contentType, material := broker.ContentTypePEM, r.GetPem()
	if material == "" {
		contentType, material = broker.ContentTypePKCS12, base64.StdEncoding.EncodeToString(r.GetPfx())
	}
	m, why := broker.ParseCertificateMaterial(contentType, broker.NewValue(material), broker.NewValue(r.GetPassword()))
	switch {
	case why == nil && m.Key.Len() == 0:
		why = errors.New("its private key is missing")
	case why == nil:
		return err
	}
	return advise(err.Error(), "the file: "+why.Error())
}

type certificateImportCmd struct {
	clientFlags
	certificateArg

	File         string `arg:"" optional:"" complete:"files" help:"The file with the certificate, its chain and its private key: PFX (PKCS #12), or PEM with a key of PKCS #8. Default: standard input."`
	PasswordFile string `placeholder:"FILE" help:"The file with the password of the PFX."`

	certificatePolicyFlags
	newCertificateFlags

	ETag string `name:"etag" placeholder:"ETAG" help:"Only if this is still the etag of the latest version, as keyward certificate get -o json shows it."`
}

// Help shows examples.
func (*certificateImportCmd) Help() string {
	return `The flags about the policy say how the next version will be made; without them, as this one was.

  keyward certificate import web web.pfx --password-file password.txt
  cat web.pem chain.pem web-key.pem | keyward certificate import web` + exitCodes
}

// Run imports a certificate.
func (c *certificateImportCmd) Run(a *app) error {
	data, err := readData(a, "certificate", c.File, broker.MaxCertificateMaterial)
	switch {
	case err != nil:
		return err
	case data.Len() == 0:
		return advise("the certificate is empty; nothing was imported", "name its file, or pipe it in")
	case data.Len() > broker.MaxCertificateMaterial:
		return errors.New("the certificate is larger than 64 KiB, a vault's limit")
	}
	password, err := readPassword(c.PasswordFile)
	if err != nil {
		return err
	}
	request := &keywardv1.ImportCertificateRequest{Password: password.Reveal(), Tags: c.Tag, Enabled: new(!c.Disabled), Etag: c.ETag}
	if c.given() {
		request.Policy = c.policy()
	}
	if block, _ := pem.Decode([]byte(data.Reveal())); block != nil {
		request.Pem = data.Reveal()
	} else {
		request.Pfx = []byte(data.Reveal())
	}
	return withClient(a, c.callFlags, func(cl *client) error {
		if request.Name, err = cl.certificateName(c.Name, ""); err != nil {
			return err
		}
		made, err := cl.certificates.ImportCertificate(a.ctx, request)
		if err != nil {
			return unreadable(err, request)
		}
		return printCertificate(a.out, c.Output, made)
	})
}

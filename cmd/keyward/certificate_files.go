package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// The files of a certificate, as the clients of ACME call them.
const (
	fullchainFile = "fullchain.pem"
	privkeyFile   = "privkey.pem"
	pfxFile       = "certificate.pfx"
)

// filesHelp says what is written.
const filesHelp = `

DIR gets privkey.pem, the private key (PKCS #8), and fullchain.pem, the certificate and its chain, leaf first: what nginx, Apache, Envoy and Go take. With --pfx it gets certificate.pfx instead. Each file is replaced whole, with mode 0600 and its old owner; the key comes first.`

// certificateFiles say where a certificate goes, and how.
type certificateFiles struct {
	Out          string `placeholder:"DIR" help:"Write it with its private key in DIR, which is made if it is not there."`
	PFX          bool   `name:"pfx" xor:"form" help:"Write one file of PKCS #12 instead of PEM."`
	PasswordFile string `placeholder:"FILE" help:"The file with the password to seal the PFX with. Default: none."`
}

func (f certificateFiles) check(form string) error {
	switch {
	case f.Out == "" && f.PFX:
		return advise("--pfx: it has the private key, and goes to a file", "name a folder with --out DIR")
	case f.PasswordFile != "" && !f.PFX:
		return errors.New("--password-file: it seals a PFX; add --pfx")
	case f.Out != "" && form == outputJSON:
		return errors.New("--out: files are written; leave out -o json")
	}
	return nil
}

// download writes the named certificate, and returns its version's full name and
// whether any file became another.
func (f certificateFiles) download(ctx context.Context, cl *client, name string) (version string, changed bool, err error) {
	request := &keywardv1.DownloadCertificateRequest{Name: name, Format: keywardv1.CertificateFormat_CERTIFICATE_FORMAT_PEM}
	if f.PFX {
		request.Format = keywardv1.CertificateFormat_CERTIFICATE_FORMAT_PFX
		password, err := readPassword(f.PasswordFile)
		if err != nil {
			return "", false, err
		}
		request.Password = password.Reveal()
	}
	got, err := cl.certificates.DownloadCertificate(ctx, request)
	if err != nil {
		return "", false, err
	}
	version = got.GetCertificate().GetName() + "/versions/" + got.GetCertificate().GetVersion()
	if err := os.MkdirAll(f.Out, 0o700); err != nil {
		return "", false, fmt.Errorf("--out: %w", err)
	}
	if f.PFX {
		// Salted anew each time, so it never equals what is there.
		return version, true, writeFile(filepath.Join(f.Out, pfxFile), got.GetPfx())
	}
	// The key first: a server that starts in between finds a pair that does not
	// match, and says so, rather than one that does and is about to expire.
	for _, file := range []struct {
		name string
		text string
	}{
		{privkeyFile, got.GetPrivateKeyPem()},
		{fullchainFile, got.GetCertificateChainPem()},
	} {
		one, err := writeChanged(filepath.Join(f.Out, file.name), []byte(file.text))
		if err != nil {
			return "", false, err
		}
		changed = changed || one
	}
	return version, changed, nil
}

// writeChanged replaces a file that holds something else, or is not its owner's
// alone.
func writeChanged(path string, data []byte) (changed bool, err error) {
	info, err := os.Stat(path)
	if err == nil && info.Mode() == 0o600 && info.Size() == int64(len(data)) {
		now, err := os.ReadFile(path)
		if err == nil && bytes.Equal(now, data) {
			return false, nil
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, writeFile(path, data)
}

// maxPassword bounds a password, in bytes.
const maxPassword = 1024

// readPassword returns what file holds, without a newline at its end. "" is no
// password.
func readPassword(file string) (broker.Value, error) {
	if file == "" {
		return broker.Value{}, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return broker.Value{}, fmt.Errorf("the password: %w", err)
	}
	defer clear(b)
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if text == "" || len(text) > maxPassword {
		return broker.Value{}, fmt.Errorf("the password in %s is empty, or longer than %d bytes", file, maxPassword)
	}
	return broker.NewValue(text), nil
}

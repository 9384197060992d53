package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type certificateWatchCmd struct {
	callFlags
	certificateArg
	certificateFiles

	Exec     string        `placeholder:"CMD" help:"The command to run, by sh, once the files have changed: nginx -s reload."`
	Interval time.Duration `default:"1m" help:"How often to look for a new version (${default}), with a tenth of it more or less."`
}

// Help shows examples.
func (*certificateWatchCmd) Help() string {
	return `The files are written at once, and again whenever the certificate has a new version. It runs until it is interrupted. If they cannot be written at the start it ends with an error; whatever fails later is told on standard error and tried again, and the files stay as they are.

  keyward certificate watch web --out /etc/web/tls --exec 'nginx -s reload'
  keyward certificate watch web --out /etc/web/tls --exec 'systemctl reload envoy' --interval 10m

CMD finds the full name of the new version in KEYWARD_CERTIFICATE. One that fails is run again at the next look. It takes the rights to getCertificate, to look, and to downloadCertificate.` + filesHelp + exitCodes
}

// Run keeps the files current until the command is interrupted.
func (c *certificateWatchCmd) Run(a *app) error {
	switch {
	case c.Out == "":
		return advise("where do the files go?", "name a folder with --out DIR")
	case c.Interval < time.Second:
		return errors.New("--interval: want 1s or more")
	}
	if err := c.check(""); err != nil {
		return err
	}
	w := &certificateWatch{certificateWatchCmd: c, trouble: trouble{to: a.err, meanwhile: "the files stay as they are; trying again"}}
	if err := w.fetch(a); err != nil {
		return err
	}
	err := w.hook(a)
	for a.ctx.Err() == nil {
		w.trouble.tell(err)
		// Not all at the same time.
		if !sleep(a.ctx, time.Duration(float64(c.Interval)*(0.9+0.2*rand.Float64()))) { //nolint:gosec // no secret
			break
		}
		if err = w.fetch(a); err == nil {
			err = w.hook(a)
		}
	}
	return nil
}

// certificateWatch is what is known between two looks.
type certificateWatch struct {
	*certificateWatchCmd
	// written is the version in the files, and owed the one that the command has
	// not been run for.
	written, owed string
	trouble       trouble
}

// fetch writes the files if there is a new version. A connection is made anew each
// time: the caller's own certificate and token may have been renewed.
func (w *certificateWatch) fetch(a *app) error {
	return withClient(a, w.callFlags, func(cl *client) error {
		name, err := cl.certificateName(w.Name, "")
		if err != nil {
			return err
		}
		latest, err := cl.certificates.GetCertificate(a.ctx, &keywardv1.GetCertificateRequest{Name: name})
		if err != nil {
			return err
		}
		version := latest.GetName() + "/versions/" + latest.GetVersion()
		if version == w.written {
			return nil
		}
		version, changed, err := w.download(a.ctx, cl, version)
		if err != nil {
			return err
		}
		w.written = version
		if changed {
			w.owed = version
			fmt.Fprintf(a.out, "wrote %s in %s\n", version, w.Out)
		}
		return nil
	})
}

// hook runs the command if it is due.
func (w *certificateWatch) hook(a *app) error {
	if w.owed == "" || w.Exec == "" {
		return nil
	}
	cmd := exec.CommandContext(a.ctx, "sh", "-c", w.Exec) //nolint:gosec // the user's own command
	cmd.Env = append(os.Environ(), "KEYWARD_CERTIFICATE="+w.owed)
	cmd.Stdout, cmd.Stderr = a.out, a.err
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("--exec: %w", err)
	}
	w.owed = ""
	return nil
}

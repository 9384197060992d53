package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/keyward/keyward/broker/audit"
)

func (w wiring) openAudit(ctx context.Context, tel *telemetry) (*audit.Log, error) {
	c, err := w.config.Audit.settings(w.config.file)
	if err != nil {
		return nil, err
	}
	c.Logger = w.log
	if w.config.Audit.OTLP {
		mirror, err := tel.newAuditMirror(ctx, w.env)
		if err != nil {
			return nil, err
		}
		c.Mirror = mirror.tell
	}
	return audit.Open(c)
}

// checkAudit looks whether the audit log could be opened, without making it.
func (w wiring) checkAudit() error {
	folder := filepath.Dir(w.config.file(w.config.Audit.Path))
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return fmt.Errorf("audit.path: there is no folder %s; make it, for this user alone", folder)
	}
	_, err := w.config.Audit.settings(w.config.file)
	return err
}

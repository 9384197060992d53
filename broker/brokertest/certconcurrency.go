package brokertest

import (
	"context"
	"sync"
	"testing"

	"github.com/keyward/keyward/broker"
)

// Of creates at the same time, each that begins makes a version.
func testConcurrentCertificates(f certFixture) {
	for label, reuse := range map[string]bool{"new-keys": false, "one-key": true} {
		f.Run(label, func(t *testing.T) { f.in(t).createAtOnce(f.name(label), reuse) })
	}
}

func (f certFixture) createAtOnce(name broker.Name, reuse bool) {
	f.Helper()
	p := selfSigned()
	p.ReuseKey = &reuse
	f.make(name, p)
	const writers = 8
	begun := make(chan struct{}, writers)
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			_, err := f.store.CreateCertificate(f.Context(), name, broker.NewCertificate{Enabled: true})
			switch broker.CodeOf(err) {
			case "":
				begun <- struct{}{}
			case broker.CodeOperationInProgress:
			default:
				f.Errorf("CreateCertificate: %v", err)
			}
		})
	}
	all.Wait()
	for !f.operation(name).Done() {
		continue
	}
	versions := f.versions(name)
	if len(versions) != 1+len(begun) {
		f.Errorf("%d versions, want %d", len(versions), 1+len(begun))
	}
	keys := make(map[string]bool)
	for _, v := range versions {
		c := f.get(v.Name)
		f.wantWhole("GetCertificate", c)
		f.wantPair("of a version", c, true)
		keys[string(f.parse(c.DER).RawSubjectPublicKeyInfo)] = true
	}
	if want := len(versions); !reuse && len(keys) != want || reuse && len(keys) != 1 {
		f.Errorf("%d keys of %d versions", len(keys), want)
	}
}

// A delete and a create at the same time leave a certificate with both halves of its
// pair, or none.
func testCreateWhileDeleting(f certFixture) {
	name := f.name("contended")
	for range 8 {
		f.make(name, selfSigned())
		var both sync.WaitGroup
		both.Go(func() {
			_, err := f.store.CreateCertificate(f.Context(), name, broker.NewCertificate{Policy: selfSigned(), Enabled: true})
			if code := broker.CodeOf(err); code != "" && code != broker.CodeCertificateSoftDeleted {
				f.Errorf("CreateCertificate: %v", err)
			}
		})
		both.Go(func() {
			if _, err := f.store.DeleteCertificate(f.Context(), name); err != nil {
				f.Errorf("DeleteCertificate: %v", err)
			}
		})
		both.Wait()
		c, err := f.store.RecoverCertificate(f.Context(), name)
		if err != nil {
			f.Fatalf("RecoverCertificate: %v", err)
		}
		f.wantPair("after the race", c, true)
		f.purge(name)
	}
}

func testCancelledCertificate(f certFixture) {
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	name := f.name("cancelled")
	_, err := f.store.CreateCertificate(ctx, name, broker.NewCertificate{Policy: selfSigned(), Enabled: true})
	f.wantCode("CreateCertificate", err, broker.CodeCanceled)
	_, err = f.store.ImportCertificate(ctx, name, broker.CertificateImport{Material: issueFor(f.T).pem(), Enabled: true})
	f.wantCode("ImportCertificate", err, broker.CodeCanceled)
	_, err = f.store.GetCertificate(f.Context(), name)
	f.wantCode("GetCertificate after cancelled calls", err, broker.CodeCertificateNotFound)
	c := f.make(name, selfSigned())
	_, err = f.store.DeleteCertificate(ctx, name)
	f.wantCode("DeleteCertificate", err, broker.CodeCanceled)
	f.wantSame("GetCertificate after a cancelled delete", f.get(name), c)
}

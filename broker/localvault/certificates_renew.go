package localvault

import (
	"context"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// rotatingCertificates are the certificates as the rotator sees them.
type rotatingCertificates struct{ certificates certificates }

func dueCertificate(h *head, m metadata) (time.Time, bool) {
	if h.state.Operation.inProgress() {
		return time.Time{}, false // somebody is renewing it
	}
	return h.state.Policy.due(m)
}

func (r rotatingCertificates) schedule(ctx context.Context) (map[broker.Name]time.Time, error) {
	return r.certificates.schedule(ctx, dueCertificate)
}

// rotateDue makes a version of the same policy, with the tags of the latest.
func (r rotatingCertificates) rotateDue(ctx context.Context, name broker.Name) (broker.Name, error) {
	s := r.certificates
	n := newOperation{enabled: true}
	err := s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return err
		}
		m, err := s.latestMetadata(ctx, tx, h, name)
		if err != nil {
			return err
		}
		n.tags = m.Tags
		n.preserveOrder = m.Certificate != nil && m.Certificate.PreserveOrder
		return nil
	})
	if err != nil {
		return broker.Name{}, err
	}
	op, err := s.make(ctx, name, n, stillDue(dueCertificate))
	if err != nil {
		return broker.Name{}, err
	}
	return name.WithVersion(op.Version.String())
}

func (rotatingCertificates) outOfUse() []broker.Code {
	return []broker.Code{broker.CodeCertificateNotFound, broker.CodeOperationInProgress}
}

package localvault

import (
	"context"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// operation describes the operation to the caller.
func (o operation) operation(name broker.Name) broker.CertificateOperation {
	told := broker.CertificateOperation{
		Name: name.Base(), Issuer: o.Issuer, CertificateType: o.Type, CSR: o.CSR,
		CancellationRequested: o.Cancel, RequestID: o.RequestID, PreserveOrder: o.PreserveOrder,
	}
	switch {
	case o.Completed:
		told.Status, told.Target = broker.OperationCompleted, name.Base()
	case strings.EqualFold(o.Issuer, broker.IssuerSelf):
		told.Status, told.StatusDetails = broker.OperationInProgress, detailsSelf
	default:
		told.Status, told.StatusDetails = broker.OperationInProgress, detailsUnknown
	}
	return told
}

// ofOperation returns the head of the named certificate, which must have an
// operation.
func (s certificates) ofOperation(ctx context.Context, tx *bbolt.Tx, name broker.Name) (*head, error) {
	h, err := s.head(ctx, tx, name)
	if err == nil && (h == nil || h.state.Deleted != 0 || h.state.Operation == nil) {
		err = &broker.Error{Code: broker.CodeOperationNotFound}
	}
	return h, err
}

// GetCertificateOperation implements broker.CertificateStore.
func (s certificates) GetCertificateOperation(ctx context.Context, name broker.Name) (op broker.CertificateOperation, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.ofOperation(ctx, tx, name)
		if err == nil {
			op = h.state.Operation.operation(name)
		}
		return err
	})
	return op, err
}

// CancelCertificateOperation implements broker.CertificateStore. Nobody hears the
// request where the issuer is Unknown: as in Key Vault, the operation waits on, and
// is ended by a merge or by deleting it.
func (s certificates) CancelCertificateOperation(ctx context.Context, name broker.Name) (op broker.CertificateOperation, err error) {
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.ofOperation(ctx, tx, name)
		if err != nil {
			return err
		}
		if h.state.Operation.inProgress() {
			h.state.Operation.Cancel = true
		}
		op = h.state.Operation.operation(name)
		return h.put(tx)
	})
	return op, err
}

// DeleteCertificateOperation implements broker.CertificateStore. A certificate that
// has no version goes with its operation.
func (s certificates) DeleteCertificateOperation(ctx context.Context, name broker.Name) (op broker.CertificateOperation, err error) {
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.ofOperation(ctx, tx, name)
		if err != nil {
			return err
		}
		op = h.state.Operation.operation(name)
		if !h.state.made() {
			return s.shelf.remove(tx, h.name)
		}
		if err := tx.Bucket(s.shelf.pending).Delete(h.row(h.state.Operation.Version)); err != nil {
			return err
		}
		h.state.Operation = nil
		return h.put(tx)
	})
	if err != nil {
		return broker.CertificateOperation{}, err
	}
	s.v.rotator.wake()
	return op, nil
}

package localvault

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// RotateKey implements broker.KeyStore. The new version has the operations and
// tags of the latest, and expires as the rotation policy says. A disabled key is
// CodeKeyDisabled: rotating would bring it back into use.
func (s keys) RotateKey(ctx context.Context, name broker.Name) (broker.Key, error) {
	k, err := s.rotate(ctx, name, func(*head, metadata) error { return nil })
	if err == nil {
		s.v.rotator.wake()
	}
	return k, err
}

// rotate makes a new version like the latest, if may says so. Its key is made
// while no transaction runs; should the latest be of another shape by then, it is
// made again.
func (s keys) rotate(ctx context.Context, name broker.Name, may func(*head, metadata) error) (broker.Key, error) {
	for {
		var sh shape
		err := s.v.view(ctx, func(tx *bbolt.Tx) error {
			h, m, err := s.rotatable(ctx, tx, name)
			if err != nil {
				return err
			}
			sh = m.Key.shape
			return may(h, m)
		})
		if err != nil {
			return broker.Key{}, err
		}
		k, err := generate(sh)
		if err != nil {
			return broker.Key{}, err
		}
		rotated, err := s.addLike(ctx, name, sh, k, may)
		k.clear()
		if !errors.Is(err, errReshaped) {
			return rotated, err
		}
	}
}

var errReshaped = errors.New("the latest version is of another shape by now")

// addLike makes a version of the shape that k has.
func (s keys) addLike(ctx context.Context, name broker.Name, sh shape, k privateKey, may func(*head, metadata) error) (rotated broker.Key, err error) {
	reshaped := false
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, m, err := s.rotatable(ctx, tx, name)
		if err != nil {
			return err
		}
		if err := may(h, m); err != nil {
			return err
		}
		if reshaped = m.Key.shape != sh; reshaped {
			return nil
		}
		created := nextVersion(h.state.Latest, time.Now()).created()
		next := metadata{Tags: m.Tags, Enabled: true, Expires: h.state.Rotation.expires(created)}
		rotated, err = s.putKey(tx, h, name, next, sh, m.Key.Ops, k)
		return err
	})
	switch {
	case err != nil:
		return broker.Key{}, err
	case reshaped:
		return broker.Key{}, errReshaped
	}
	return rotated, nil
}

// rotatable returns a key that may be rotated, and its latest version.
func (s keys) rotatable(ctx context.Context, tx *bbolt.Tx, name broker.Name) (*head, metadata, error) {
	h, err := s.own(ctx, tx, name)
	if err != nil {
		return nil, metadata{}, err
	}
	m, err := s.latestMetadata(ctx, tx, h, name)
	switch {
	case err != nil:
		return nil, metadata{}, err
	case m.Key == nil:
		return nil, metadata{}, s.damaged(ctx, name, errMaterial)
	case !m.Enabled:
		return nil, metadata{}, &broker.Error{Code: broker.CodeKeyDisabled}
	}
	return h, m, nil
}

// GetRotationPolicy implements broker.KeyStore. A key that was given none has Key
// Vault's default, without times.
func (s keys) GetRotationPolicy(ctx context.Context, name broker.Name) (p broker.RotationPolicy, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return err
		}
		p = h.state.Rotation.policy(s.v.hsm)
		return nil
	})
	if err != nil {
		return broker.RotationPolicy{}, err
	}
	return p, nil
}

// UpdateRotationPolicy implements broker.KeyStore. A policy that Key Vault would
// not take is CodeBadField. Versions that are there keep their expiry.
func (s keys) UpdateRotationPolicy(ctx context.Context, name broker.Name, p broker.RotationPolicy) (updated broker.RotationPolicy, err error) {
	r, err := newRotationPolicy(p, s.v.hsm)
	if err != nil {
		return broker.RotationPolicy{}, err
	}
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.own(ctx, tx, name)
		if err != nil {
			return err
		}
		r.Updated = time.Now().Unix()
		r.Created = r.Updated
		if old := h.state.Rotation; old != nil {
			r.Created, r.Updated = old.Created, max(old.Updated, r.Updated)
		}
		h.state.Rotation = r
		updated = r.policy(s.v.hsm)
		return h.put(tx)
	})
	if err != nil {
		return broker.RotationPolicy{}, err
	}
	s.v.rotator.wake()
	return updated, nil
}

// rotatingKeys are the keys as the rotator sees them.
type rotatingKeys struct{ keys keys }

func dueKey(h *head, m metadata) (time.Time, bool) { return h.state.Rotation.due(m) }

func (r rotatingKeys) schedule(ctx context.Context) (map[broker.Name]time.Time, error) {
	return r.keys.schedule(ctx, dueKey)
}

func (r rotatingKeys) rotateDue(ctx context.Context, name broker.Name) (broker.Name, error) {
	k, err := r.keys.rotate(ctx, name, stillDue(dueKey))
	return k.Name, err
}

func (rotatingKeys) outOfUse() []broker.Code {
	return []broker.Code{broker.CodeKeyNotFound, broker.CodeKeyDisabled}
}

// Package localvault is a vault of one's own: the stores behind an embedded
// Key Vault, in one file on this machine, and the token service that stands
// beside them.
//
//	v, err := localvault.Open(localvault.Config{Path: "vault.db", KeyFile: "vault.key"})
//	...
//	defer v.Close()
//	v.Secrets()      // a broker.SecretStore
//	v.Keys()         // a broker.KeyStore
//	v.Certificates() // a broker.CertificateStore
//
// A write that returned is on the disk: it survives a crash of the process and
// of the machine. What is stored of a secret, key or certificate beside its name is
// sealed with AES-256-GCM and bound to where it lies, so a record that was changed
// or moved is refused, and the others are still served. Names are stored in the clear.
// Older copies put back are not detected: of the file, of an object's row, or of
// the page that names the last commit, which the file keeps twice. What is purged
// is gone from the vault at once; its sealed bytes stay in the file until their
// place is used again.
//
// A backup of one object is sealed under a key derived from the master key. A
// vault with the same master key can restore it, whichever file it has; without
// that key, the backup is worth nothing.
package localvault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/keyward/keyward/broker"
)

const (
	defaultRetention = 90 // days
	minRetention     = 7  // days
	lockTimeout      = time.Second
)

// Config says where a vault lies and how it keeps what is deleted.
type Config struct {
	// Path is the vault's file, made with mode 0600 where absent. Its folder
	// must exist.
	Path string
	// KeyFile holds the master key, made with mode 0600 together with the vault.
	// Who has both files has the secrets; without this one they are lost.
	KeyFile string
	// RetentionDays is how long what was deleted can be recovered: 7 to 90, or 0 for
	// 90.
	RetentionDays int32
	// PurgeProtection: what is deleted cannot be purged before its time.
	PurgeProtection bool
	// ManagedHSM: keys are as Managed HSM has them. Symmetric ones (oct) can be
	// made, and every type reads with "-HSM", although no hardware holds it. There
	// are no certificates.
	ManagedHSM bool
	// Control: while it is open, the vault answers Snapshot and Check of other
	// processes, on a socket beside its file.
	Control bool
	// Logger may be nil.
	Logger *slog.Logger
}

// Vault is an open vault. All methods may be called concurrently.
type Vault struct {
	db        *bbolt.DB
	commits   commits
	seal      sealer // under the master key
	backups   sealer // under the key derived from it for backups
	retention int32
	protected bool
	hsm       bool
	log       *slog.Logger
	// failed is set once a commit failed: what is on the disk is then unknown
	// until the file is read anew.
	failed  atomic.Bool
	rotator *rotator
	owner   *owner // nil without Control
}

// Open opens the vault, and makes it where there is none. One process at a
// time has a vault open: Open waits a second for another, then fails.
func Open(c Config) (*Vault, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.RetentionDays == 0 {
		c.RetentionDays = defaultRetention
	}
	if c.RetentionDays < minRetention || c.RetentionDays > defaultRetention {
		return nil, fmt.Errorf("local vault: %d days of retention; choose %d to %d", c.RetentionDays, minRetention, defaultRetention)
	}
	if c.Path == "" || c.KeyFile == "" {
		return nil, errors.New("local vault: both the vault's file and its key file must be named")
	}
	err := checkPrivate(c.Path)
	if errors.Is(err, os.ErrNotExist) {
		err = makeFile(c.Path)
	}
	if err != nil {
		return nil, fmt.Errorf("local vault: %w", err)
	}
	var db *bbolt.DB
	err = guard(func() (err error) {
		db, err = bbolt.Open(c.Path, 0o600, &bbolt.Options{Timeout: lockTimeout, OpenFile: openFromDisk})
		return err
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("local vault: %s is in use by another process; stop that one, or use another folder", c.Path)
	case err != nil:
		return nil, fmt.Errorf("local vault: %s cannot be opened: %w", c.Path, err)
	}
	if err := guard(func() error { return checkFile(db) }); err != nil {
		return nil, errors.Join(fmt.Errorf("local vault: %s cannot be opened: %w", c.Path, err), db.Close())
	}
	v := &Vault{db: db, commits: commits{turn: make(chan struct{}, 1)}, retention: c.RetentionDays, protected: c.PurgeProtection, hsm: c.ManagedHSM, log: c.Logger}
	if err := guard(func() error { return v.begin(c) }); err != nil {
		return nil, errors.Join(fmt.Errorf("local vault: %w", err), db.Close())
	}
	if c.Control {
		// Who cannot be asked for a backup can serve all the same.
		if v.owner, err = startOwner(v); err != nil {
			v.log.Warn("the local vault cannot be backed up while it is open", "error", err)
		}
	}
	v.rotator = startRotator(v)
	return v, nil
}

// Close closes the vault once running calls have ended. Later calls fail.
func (v *Vault) Close() error {
	v.rotator.stop()
	v.owner.stop()
	return v.db.Close()
}

// Secrets returns the vault's secrets. The store ends with the vault.
func (v *Vault) Secrets() broker.SecretStore { return secrets{objects{v, secretShelf}} }

// Keys returns the vault's keys. The store ends with the vault. While the vault is
// open, keys are rotated when their policies say so.
func (v *Vault) Keys() broker.KeyStore { return v.keys() }

// Certificates returns the vault's certificates, or nil: a Managed HSM has none. The
// store ends with the vault. While the vault is open, what it signed itself is
// renewed when its policies say so.
func (v *Vault) Certificates() broker.CertificateStore {
	if v.hsm {
		return nil
	}
	return v.certificates()
}

func (v *Vault) certificates() certificates { return certificates{objects{v, certificateShelf}} }

func (v *Vault) keys() keys { return keys{objects{v, keyShelf}} }

// checkFile refuses a file whose pages do not hold together. To write to it would make
// it worse, and bbolt, which follows a page wherever it leads, might go in a circle
// until the memory is used up.
func checkFile(db *bbolt.DB) error {
	file, err := os.Open(db.Path())
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if err := db.View(func(tx *bbolt.Tx) error { return checkPages(tx, file) }); err != nil {
		return fmt.Errorf("%w: %w", errPage, err)
	}
	return nil
}

// begin makes or checks the vault's header. The file is locked by now, so no
// other process is making the same vault.
func (v *Vault) begin(c Config) error {
	var header []byte
	err := v.db.View(func(tx *bbolt.Tx) error {
		header = readHeader(tx)
		return nil
	})
	if err != nil {
		return err
	}
	key, err := readMasterKey(c.KeyFile)
	switch {
	case errors.Is(err, os.ErrNotExist) && header == nil:
		// The key is on the disk before anything is sealed with it.
		if key, err = makeMasterKey(c.KeyFile); err != nil {
			return err
		}
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("the master key %s is missing, and %s cannot be read without it; "+
			"restore the key from a backup, or move the vault away to begin an empty one", c.KeyFile, c.Path)
	case err != nil:
		return err
	}
	defer clear(key)
	v.seal = newSealer(key, nil)
	if v.backups, err = newBackupSealer(key); err != nil {
		return err
	}

	if header == nil {
		// A vault that has a header has its files' names on the disk, however far a
		// process before this one came with making them.
		for _, path := range []string{c.KeyFile, c.Path} {
			if err := syncName(path); err != nil {
				return err
			}
		}
		header = v.newHeader()
		if err := v.db.Update(func(tx *bbolt.Tx) error { return writeHeader(tx, header) }); err != nil {
			return fmt.Errorf("%s cannot be written: %w", c.Path, err)
		}
	}
	id, err := v.openHeader(header)
	if err != nil {
		return fmt.Errorf("the master key %s does not open %s; use the key that was made with this vault", c.KeyFile, c.Path)
	}
	v.seal = newSealer(key, id)
	return v.db.Update(func(tx *bbolt.Tx) error {
		if err := makeShelves(tx); err != nil {
			return err
		}
		return v.purgeExpired(tx)
	})
}

// view runs fn in a transaction that reads.
func (v *Vault) view(ctx context.Context, fn func(*bbolt.Tx) error) error {
	if err := v.ready(ctx); err != nil {
		return err
	}
	return v.asError(ctx, guard(func() error { return v.db.View(fn) }))
}

// guard makes an error of what bbolt does when a page of the file is damaged: it
// follows the page's offsets, panics, and may leave the mapped file, which would
// end the process. The panic's text is left out: it could quote what the page
// holds.
func guard(run func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w (panic: %T)\n%s", errPage, p, debug.Stack())
		}
	}()
	return run()
}

var errPage = errors.New("a page of the vault's file is damaged; restore the file from a backup")

// asError gives a code to what is no *broker.Error yet: the file's errors.
func (v *Vault) asError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*broker.Error](err); ok {
		return e
	}
	v.log.ErrorContext(ctx, "the local vault's file cannot be used", "error", err)
	return &broker.Error{Code: broker.CodeVaultUnavailable, Err: err}
}

// recoveryLevel is Key Vault's name for what retention and purge protection
// allow.
func (v *Vault) recoveryLevel() string {
	level := "Recoverable"
	if v.retention < defaultRetention {
		level = "CustomizedRecoverable"
	}
	if !v.protected {
		level += "+Purgeable"
	}
	return level
}

package localvault

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// Report is what Check found.
type Report struct {
	Secrets, Keys, Certificates int // those of certificates among the first two, deleted ones too
	Versions                    int
	Findings                    []Finding
}

// Finding is one thing that is wrong.
type Finding struct {
	Kind    string // secret, key or certificate; vault or file where it is of none
	Name    string // empty where it is of none
	Version string // empty where it is of all
	Problem string
	Advice  string
}

const (
	adviseFile    = "restore the file from a backup"
	adviseObject  = "nothing of it is served; restore the file from a backup"
	adviseVersion = "this version is refused and the others are served; set a new one, or restore the file from a backup"
	adviseOrphan  = "it is served to nobody; restore the file from a backup if it should be"
	adviseContact = "delete the certificate contacts and set them anew, or restore the file from a backup"
	advisePending = "delete the certificate's operation and begin again, or restore the file from a backup"
	advisePair    = "the certificate cannot be changed; restore the file from a backup"
)

// maxPageFindings bounds what is told of pages: one damaged page can be met often.
const maxPageFindings = 20

// Check looks for what is damaged: it reads every page and opens every record, and
// changes nothing. Where a process has the vault open it looks at a snapshot: that
// process is neither held up by it nor ended by what a damaged page can do.
func Check(ctx context.Context, path, keyFile string) (report Report, err error) {
	look := func(db *bbolt.DB, file *os.File) error {
		report, err = check(ctx, db, file, path, keyFile)
		return err
	}
	err = reach(path, func() error {
		db, file, err := openSnapshot(ctx, path)
		if err != nil {
			return err
		}
		return errors.Join(look(db, file), db.Close())
	}, look)
	if err != nil {
		return Report{}, err
	}
	return report, nil
}

// checker looks through one transaction.
type checker struct {
	tx     *bbolt.Tx
	v      *Vault // its sealer alone
	report Report
	heads  map[*shelf]map[string]checkedHead
}

// checkedHead is an object whose head could be opened, and its versions of which a
// row is there.
type checkedHead struct {
	*head
	versions map[version]bool
}

func check(ctx context.Context, db *bbolt.DB, file io.ReaderAt, path, keyFile string) (Report, error) {
	c := checker{v: &Vault{}, heads: map[*shelf]map[string]checkedHead{}}
	err := guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			c.tx = tx
			if !c.pages(file) {
				return nil // who reads on may be led astray
			}
			if err := c.open(path, keyFile); err != nil {
				return err
			}
			for _, s := range shelves {
				if err := c.shelf(ctx, s); err != nil {
					return err
				}
			}
			c.pairs()
			c.contacts()
			return nil
		})
	})
	if errors.Is(err, errPage) {
		err = fmt.Errorf("%s: %w", path, errPage) // without the stack
	}
	return c.report, err
}

// open reads the header.
func (c *checker) open(path, keyFile string) error {
	header := readHeader(c.tx)
	if header == nil {
		return fmt.Errorf("%s is no vault, or an empty one", path)
	}
	key, err := readMasterKey(keyFile)
	if err != nil {
		return err
	}
	defer clear(key)
	c.v.seal = newSealer(key, nil)
	id, err := c.v.openHeader(header)
	if err != nil {
		return fmt.Errorf("the master key %s does not open %s; use the key that was made with this vault", keyFile, path)
	}
	c.v.seal = newSealer(key, id)
	return nil
}

func (c *checker) found(kind, name, ver, problem, advice string) {
	c.report.Findings = append(c.report.Findings, Finding{kind, name, ver, problem, advice})
}

func (c *checker) shelf(ctx context.Context, s *shelf) error {
	heads := make(map[string]checkedHead)
	c.heads[s] = heads
	var names []string
	rows := make(map[string]map[version]bool)
	if c.tx.Bucket(s.heads) == nil {
		return nil // the file is older than the shelf
	}
	_ = c.tx.Bucket(s.heads).ForEach(func(k, _ []byte) error {
		names = append(names, string(k))
		return nil
	})
	for _, bucket := range s.buckets()[1:] {
		c.rows(s, bucket, rows)
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if h, err := c.v.openHead(s, name, c.tx.Bucket(s.heads).Get([]byte(name))); err != nil {
			c.found(s.noun, name, "", errDamaged.Error(), adviseObject)
		} else {
			heads[name] = checkedHead{h, rows[name]}
			c.object(heads[name])
		}
		delete(rows, name)
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		c.found(s.noun, name, "", "it has versions, and what names it is missing", adviseOrphan)
	}
	switch s {
	case secretShelf:
		c.report.Secrets = len(names)
	case keyShelf:
		c.report.Keys = len(names)
	case certificateShelf:
		c.report.Certificates = len(names)
	}
	return nil
}

// rows notes which versions have a row in a bucket. The keys that wait are of none.
func (c *checker) rows(s *shelf, bucket []byte, rows map[string]map[version]bool) {
	b := c.tx.Bucket(bucket)
	if b == nil {
		return
	}
	_ = b.ForEach(func(k, _ []byte) error {
		name, id, ok := bytes.Cut(k, []byte{0})
		if !ok || len(id) != len(version{}) {
			c.found(s.noun, string(k), "", "its row is named as none is", adviseOrphan)
			return nil
		}
		if rows[string(name)] == nil {
			rows[string(name)] = make(map[version]bool)
		}
		if !bytes.Equal(bucket, s.pending) {
			rows[string(name)][version(id)] = true
		}
		return nil
	})
}

// object opens all versions of an object.
func (c *checker) object(h checkedHead) {
	for _, ver := range slices.SortedFunc(maps.Keys(h.versions), func(a, b version) int { return bytes.Compare(a[:], b[:]) }) {
		c.report.Versions++
		if err := c.version(h.head, ver); err != nil {
			c.found(h.shelf.noun, h.name, ver.String(), err.Error(), adviseVersion)
		}
	}
	waiting := h.shelf == certificateShelf && h.state.Operation.inProgress()
	if waiting {
		k, err := certificates{objects{c.v, certificateShelf}}.pendingKey(c.tx, h.head, h.state.Operation)
		k.clear()
		if err != nil {
			c.found(h.shelf.noun, h.name, "", "the private key that waits for its certificate: "+err.Error(), advisePending)
		}
	}
	if !h.versions[h.state.Latest] && (h.state.made() || !waiting) {
		c.found(h.shelf.noun, h.name, "", "its latest version is missing", adviseObject)
	}
}

func (c *checker) version(h *head, ver version) error {
	m, err := h.metadata(c.tx, ver)
	if err != nil {
		return fmt.Errorf("its metadata: %w", err)
	}
	value, err := h.value(c.tx, ver)
	if err != nil {
		return fmt.Errorf("its value: %w", err)
	}
	defer clear(value)
	switch h.shelf {
	case keyShelf:
		if m.Key == nil {
			return errMaterial
		}
		k, err := parsePrivate(m.Key.shape, value)
		k.clear()
		return err
	case certificateShelf:
		if m.Certificate == nil {
			return errNoCertificate
		}
		_, err := parseChain(value)
		return err
	}
	return nil
}

// pairs holds certificates against their keys and secrets.
func (c *checker) pairs() {
	for _, h := range ordered(c.heads[certificateShelf]) {
		if h.state.made() {
			c.pair(h)
		}
	}
	for _, s := range []*shelf{keyShelf, secretShelf} {
		for name, h := range ordered(c.heads[s]) {
			// A certificate whose head is damaged was told of.
			if h.state.Managed && c.tx.Bucket(certificateShelf.heads).Get([]byte(name)) == nil {
				c.found(s.noun, name, "", "it is of a certificate that is missing", advisePair)
			}
		}
	}
}

func (c *checker) pair(certificate checkedHead) {
	name := certificate.name
	tell := func(ver, problem string) { c.found(certificateShelf.noun, name, ver, problem, advisePair) }
	for _, s := range []*shelf{keyShelf, secretShelf} {
		h, ok := c.heads[s][name]
		switch {
		case !ok && c.tx.Bucket(s.heads).Get([]byte(name)) != nil: // damaged, and told of
		case !ok:
			tell("", "its "+s.noun+" is missing")
		case !h.state.Managed:
			tell("", errUnmanaged.Error())
		case (h.state.Deleted != 0) != (certificate.state.Deleted != 0):
			tell("", "either it or its "+s.noun+" is deleted")
		case !maps.Equal(h.versions, certificate.versions):
			tell("", "its versions are not those of its "+s.noun)
		}
	}
	for ver := range certificate.versions {
		if !c.matches(certificate.head, ver) {
			tell(ver.String(), "it is not of its key")
		}
	}
}

// matches reports whether a version's certificate is of its key. What cannot be
// opened was told of before.
func (c *checker) matches(h *head, ver version) bool {
	key, ok := c.heads[keyShelf][h.name]
	if !ok {
		return true
	}
	stored, err1 := h.value(c.tx, ver)
	m, err2 := key.metadata(c.tx, ver)
	private, err3 := key.value(c.tx, ver)
	defer clear(private)
	if errors.Join(err1, err2, err3) != nil || m.Key == nil {
		return true
	}
	chain, err1 := parseChain(stored)
	k, err2 := parsePrivate(m.Key.shape, private)
	if errors.Join(err1, err2) != nil {
		return true
	}
	leaf, err := x509.ParseCertificate(chain[0])
	return err == nil && k.matches(leaf)
}

func (c *checker) contacts() {
	sealed := c.tx.Bucket(bucketVault).Get(contactsKey)
	if sealed == nil {
		return
	}
	var all []broker.CertificateContact
	plain, err := c.v.seal.open(contactsPlace(), sealed)
	if err == nil {
		err = json.Unmarshal(plain, &all)
	}
	if err != nil {
		c.found("vault", "", "", "the certificate contacts: "+errDamaged.Error(), adviseContact)
	}
}

// pages reports whether the file holds together: that of bbolt's check, too, which
// runs in a goroutine of its own that no guard is over.
func (c *checker) pages(file io.ReaderAt) bool {
	if err := checkPages(c.tx, file); err != nil {
		c.found("file", "", "", err.Error(), adviseFile)
		return false
	}
	told := 0
	for err := range c.tx.Check() {
		if told++; told <= maxPageFindings {
			c.found("file", "", "", err.Error(), adviseFile)
		}
	}
	return told == 0
}

// ordered are the objects of a shelf by name.
func ordered(heads map[string]checkedHead) func(func(string, checkedHead) bool) {
	return func(yield func(string, checkedHead) bool) {
		for _, name := range slices.Sorted(maps.Keys(heads)) {
			if !yield(name, heads[name]) {
				return
			}
		}
	}
}

package localvault

import (
	"encoding/binary"
	"fmt"
	"io"

	"go.etcd.io/bbolt"
)

// Where things lie in a page of bbolt's, in the machine's own byte order: a header,
// then elements of equal length, each of which says how far behind itself its key
// and value lie.
const (
	pageHeaderLen  = 16 // id, flags, count, overflow
	pageElementLen = 16
	bucketLen      = 16 // the root's id and a counter, before what lies inline

	flagBranch, flagLeaf, flagFreelist = 1, 2, 16
	flagBucket                         = 1 // of a leaf's element

	// Of the first two pages, each of which names a commit.
	metaFreelist, metaTx, metaLen = 48, 64, 72
	noFreelist                    = 1<<64 - 1
)

// pages walks the pages that a transaction sees. bbolt follows a page wherever it
// leads: out of the file, which ends the process, or in a circle without end. What
// has passed here does neither.
type pages struct {
	file  io.ReaderAt
	size  int
	limit uint64 // the first page that is none
	seen  map[uint64]bool
}

// checkPages tells what is wrong with the pages of the file that tx sees.
func checkPages(tx *bbolt.Tx, file io.ReaderAt) error {
	size := tx.DB().Info().PageSize
	p := pages{file: file, size: size, limit: uint64(tx.Size()) / uint64(size), seen: map[uint64]bool{}} //nolint:gosec // sizes
	if err := p.free(uint64(tx.ID())); err != nil {                                                      //nolint:gosec // a number of commits
		return err
	}
	return p.walk(uint64(tx.Cursor().Bucket().Root()))
}

// walk checks a page and all below it.
func (p *pages) walk(id uint64) error {
	b, err := p.read(id)
	if err != nil {
		return err
	}
	if err := p.elements(b); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// free checks the list of free pages, as the transaction's commit names it.
func (p *pages) free(tx uint64) error {
	for meta := range int64(2) {
		b := make([]byte, metaLen)
		if _, err := p.file.ReadAt(b, meta*int64(p.size)); err != nil {
			return err
		}
		id := binary.NativeEndian.Uint64(b[metaFreelist:])
		if binary.NativeEndian.Uint64(b[metaTx:]) != tx || id == noFreelist {
			continue
		}
		list, err := p.read(id)
		if err != nil {
			return fmt.Errorf("the list of free pages: %w", err)
		}
		count, at := uint64(binary.NativeEndian.Uint16(list[10:])), uint64(pageHeaderLen)
		if count == 0xffff { // it did not fit
			count, at = binary.NativeEndian.Uint64(list[at:]), at+8
		}
		if binary.NativeEndian.Uint16(list[8:]) != flagFreelist || count > (uint64(len(list))-at)/8 {
			return fmt.Errorf("the list of free pages: page %d is none", id)
		}
	}
	return nil
}

// read returns a page, and those that go with it.
func (p *pages) read(id uint64) ([]byte, error) {
	if err := p.claim(id, 0); err != nil {
		return nil, err
	}
	b := make([]byte, p.size)
	if _, err := p.file.ReadAt(b, int64(id)*int64(p.size)); err != nil { //nolint:gosec // claim saw that it is in the file
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	if binary.NativeEndian.Uint64(b) != id {
		return nil, fmt.Errorf("page %d is another's", id)
	}
	more := uint64(binary.NativeEndian.Uint32(b[12:]))
	if more == 0 {
		return b, nil
	}
	if err := p.claim(id+1, more-1); err != nil {
		return nil, err
	}
	b = make([]byte, (1+more)*uint64(p.size))                            //nolint:gosec // a size of pages
	if _, err := p.file.ReadAt(b, int64(id)*int64(p.size)); err != nil { //nolint:gosec // as above
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return b, nil
}

// claim takes a page, and those behind it, which nothing else may lead to.
func (p *pages) claim(id, more uint64) error {
	if id < 2 || id >= p.limit || more >= p.limit-id {
		return fmt.Errorf("page %d is not in the file", id)
	}
	for at := id; at <= id+more; at++ {
		if p.seen[at] {
			return fmt.Errorf("two ways lead to page %d", at)
		}
		p.seen[at] = true
	}
	return nil
}

// elements checks what a page has, and all that it leads to.
func (p *pages) elements(b []byte) error {
	flags, count := binary.NativeEndian.Uint16(b[8:]), int(binary.NativeEndian.Uint16(b[10:]))
	if flags != flagBranch && flags != flagLeaf {
		return fmt.Errorf("flags %#x", flags)
	}
	if count == 0 && flags == flagBranch || pageHeaderLen+count*pageElementLen > len(b) {
		return fmt.Errorf("%d elements", count)
	}
	for i := range count {
		at := pageHeaderLen + i*pageElementLen
		e := b[at : at+pageElementLen]
		if flags == flagBranch {
			if _, ok := behind(b[at:], e, e[4:], nil); !ok {
				return fmt.Errorf("element %d leads out of it", i)
			}
			if err := p.walk(binary.NativeEndian.Uint64(e[8:])); err != nil {
				return err
			}
			continue
		}
		value, ok := behind(b[at:], e[4:], e[8:], e[12:])
		if !ok {
			return fmt.Errorf("element %d leads out of it", i)
		}
		if binary.NativeEndian.Uint32(e)&flagBucket != 0 {
			if err := p.bucket(value); err != nil {
				return err
			}
		}
	}
	return nil
}

// behind returns the value of an element that b begins with, if that and the key
// before it are within b.
func behind(b, pos, keyLen, valueLen []byte) (value []byte, ok bool) {
	from := uint64(binary.NativeEndian.Uint32(pos))
	middle := from + uint64(binary.NativeEndian.Uint32(keyLen))
	to := middle
	if valueLen != nil {
		to += uint64(binary.NativeEndian.Uint32(valueLen))
	}
	if to > uint64(len(b)) {
		return nil, false
	}
	return b[middle:to], true
}

// bucket checks a bucket's pages, or the one that lies in its value.
func (p *pages) bucket(value []byte) error {
	if len(value) < bucketLen {
		return fmt.Errorf("a bucket of %d bytes", len(value))
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return p.walk(root)
	}
	inline := value[bucketLen:]
	if len(inline) < pageHeaderLen || binary.NativeEndian.Uint16(inline[8:]) != flagLeaf {
		return fmt.Errorf("a bucket of %d bytes without a page", len(value))
	}
	return p.elements(inline)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/keyward/keyward/broker/localvault"
)

const (
	vaultWriters = 16
	diskPage     = 4096
)

// localVault counts sets that are on the disk when they return, by writers of the
// store in this process, beside syncs of a file in the same folder: of one that
// grows by each, as a log does, and of one page that is written again and again,
// for which a disk can have next to nothing to do.
func localVault(ctx context.Context, r *rig) (_ []result, err error) {
	dir := filepath.Join(r.dir, "written")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	v, err := localvault.Open(localvault.Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key")})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	file, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		return nil, err
	}
	defer file.Close()

	store := v.Secrets()
	sets := load{name: "the local vault", callers: vaultWriters, call: func(ctx context.Context, caller, n int) error {
		return setSecret(ctx, store, fmt.Sprintf("writer-%d-%d", caller, n%warmNames))
	}}
	page := make([]byte, diskPage)
	var end int64
	syncs := func(grows int64) load {
		return load{name: "a file", callers: 1, call: func(_ context.Context, _, n int) error {
			page[0] = byte(n) //nolint:gosec // that it differs is enough
			if _, err := file.WriteAt(page, end); err != nil {
				return err
			}
			end += grows
			return file.Sync()
		}}
	}
	appended, err := r.compare(ctx, syncs(diskPage), sets)
	if err != nil {
		return nil, err
	}
	again, err := r.compare(ctx, syncs(0), sets)
	if err != nil {
		return nil, err
	}
	return []result{
		throughput("local vault, 16 writers: sets that are on the disk; fsyncs of a file that grows", appended, atLeast(4)),
		throughput("local vault, 16 writers: the same; fsyncs of one page, written again", again, untargeted),
	}, nil
}

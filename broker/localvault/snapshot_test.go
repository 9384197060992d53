package localvault

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/keyward/keyward/broker"
)

func openControlled(t *testing.T, dir string) *Vault {
	t.Helper()
	v, err := Open(Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key"), Control: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func set(t *testing.T, v *Vault, object, value string) {
	t.Helper()
	_, err := v.Secrets().SetSecret(t.Context(), name(t, object), broker.NewSecret{Value: broker.NewValue(value), Enabled: true})
	if err != nil {
		t.Error(err)
	}
}

func get(t *testing.T, v *Vault, object string) string {
	t.Helper()
	s, err := v.Secrets().GetSecret(t.Context(), name(t, object))
	if err != nil {
		t.Error(err)
	}
	return s.Value.Reveal()
}

// restored opens a snapshot of v as a vault of its own, under v's key.
func restored(t *testing.T, v *Vault) *Vault {
	t.Helper()
	return restoredFrom(t, filepath.Dir(v.db.Path()))
}

// restoredFrom does the same for a folder, whoever has its vault open.
func restoredFrom(t *testing.T, dir string) *Vault {
	t.Helper()
	keyFile := filepath.Join(dir, "vault.key")
	var file bytes.Buffer
	if err := Snapshot(t.Context(), filepath.Join(dir, "vault.db"), &file); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "vault.db")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := checked(t, path, keyFile); len(r.Findings) > 0 {
		t.Errorf("the snapshot is damaged: %+v", r.Findings)
	}
	again, err := Open(Config{Path: path, KeyFile: keyFile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Close() })
	return again
}

// A snapshot is of one moment, however much is written meanwhile: it has all that
// was acknowledged before, and of what one caller wrote in turn no later part without
// the earlier.
func TestSnapshotUnderLoad(t *testing.T) {
	v := openControlled(t, t.TempDir())
	v.db.NoSync = true
	big := strings.Repeat("x", 20_000) // so that the file grows
	const writers, snapshots = 3, 8
	for w := range writers {
		set(t, v, fmt.Sprint("first", w), "00000")
		set(t, v, fmt.Sprint("second", w), "00000")
	}
	// So many for each snapshot: a file that grows faster than it is copied would never
	// end.
	turns := make(chan struct{}, 30*writers)
	var wrote sync.WaitGroup
	for w := range writers {
		wrote.Go(func() {
			n := 0
			for range turns {
				n++
				set(t, v, fmt.Sprint("first", w), fmt.Sprintf("%05d%s", n, big))
				set(t, v, fmt.Sprint("second", w), fmt.Sprintf("%05d%s", n, big))
			}
		})
	}
	for range snapshots {
		for len(turns) < cap(turns) {
			turns <- struct{}{}
		}
		var acknowledged [writers]string
		for w := range writers {
			acknowledged[w] = get(t, v, fmt.Sprint("second", w))[:5]
		}
		copied := restored(t, v)
		for w := range writers {
			first, second := get(t, copied, fmt.Sprint("first", w))[:5], get(t, copied, fmt.Sprint("second", w))[:5]
			if second < acknowledged[w] || first < second {
				t.Errorf("the snapshot has %s and %s, and %s was acknowledged before", first, second, acknowledged[w])
			}
		}
	}
	close(turns)
	wrote.Wait()
	if r := checked(t, v.db.Path(), keyFileOf(v)); len(r.Findings) > 0 { // through the owner, too
		t.Errorf("found %+v", r.Findings)
	}
}

// With and without an owner, one that went, and one whose socket was left behind.
func TestSnapshotFindsTheOwner(t *testing.T) {
	dir := t.TempDir()
	v := openControlled(t, dir)
	folder := v.db.Path() + socketFolder
	for path, want := range map[string]os.FileMode{folder: 0o700 | os.ModeDir, filepath.Join(folder, socketName): 0o600 | os.ModeSocket} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	set(t, v, "a", "owned")
	if got := get(t, restored(t, v), "a"); got != "owned" {
		t.Errorf("got %q", got)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("the socket's folder is left: %v", err)
	}
	if got := get(t, restoredFrom(t, dir), "a"); got != "owned" {
		t.Errorf("without an owner: got %q", got)
	}

	// As a killed process leaves it.
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	address, release, err := socketAddress(folder)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	_ = ln.Close()
	release()
	if got := get(t, restoredFrom(t, dir), "a"); got != "owned" {
		t.Errorf("with a stale socket: got %q", got)
	}
	v = openControlled(t, dir)
	set(t, v, "a", "taken over")
	if got := get(t, restored(t, v), "a"); got != "taken over" {
		t.Errorf("got %q", got)
	}
	if entries, err := filepath.Glob(filepath.Join(dir, ".vault-snapshot-*")); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// A path that is too long for a socket is no obstacle, and neither is a link.
func TestSnapshotByALongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	v := openControlled(t, dir)
	if v.owner == nil {
		t.Skip("this system has no /proc/self/fd")
	}
	set(t, v, "a", "far away")
	if got := get(t, restored(t, v), "a"); got != "far away" {
		t.Errorf("got %q", got)
	}
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(v.db.Path(), link); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := Snapshot(t.Context(), link, &file); err != nil || file.Len() == 0 {
		t.Errorf("through a link: %d bytes, %v", file.Len(), err)
	}
}

func TestSnapshotRefused(t *testing.T) {
	silent, err := Open(Config{Path: filepath.Join(t.TempDir(), "vault.db"), KeyFile: filepath.Join(t.TempDir(), "vault.key")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	failed := openControlled(t, t.TempDir())
	failed.failed.Store(true)
	open := filepath.Join(t.TempDir(), "open.db")
	if err := os.WriteFile(open, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, want string }{
		{silent.db.Path(), "in use by a process that does not answer here"},
		{failed.db.Path(), "an earlier write to the vault's file failed"},
		{open, "chmod 600"},
		{open + "x", "no such file"},
	} {
		var file bytes.Buffer
		if err := Snapshot(t.Context(), c.path, &file); err == nil || !strings.Contains(err.Error(), c.want) || file.Len() > 0 {
			t.Errorf("got %d bytes, %v, want %s", file.Len(), err, c.want)
		}
	}
}

// Who could look into the socket's folder keeps the owner from listening there, and
// not from serving.
func TestOpenFolderOfTheSocket(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "vault.db"+socketFolder)
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	v := openControlled(t, dir)
	if v.owner != nil {
		t.Error("it listens in a folder that is open to others")
	}
	set(t, v, "a", "served")
	if got := get(t, v, "a"); got != "served" {
		t.Errorf("got %q", got)
	}
}

package localvault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
)

// Who has a vault open has its file locked. So that it can be copied all the same,
// the owner answers on a Unix socket, in a folder beside the file that is its
// user's alone. There is one thing to ask: a snapshot. It is of sealed records, so
// that what passes here is worth nothing without the master key.

const (
	socketFolder  = ".control" // behind the file's name
	socketName    = "socket"
	snapshotRoute = "/snapshot"
	// maxSocketPath is the shortest limit of a socket's path that a system has, in
	// bytes.
	maxSocketPath = 103
)

// owner answers on the socket of an open vault.
type owner struct {
	v      *Vault
	folder string
	server *http.Server
	done   chan struct{}
	one    sync.Mutex // one snapshot at a time is written
}

// startOwner listens. A socket that is there was left by a process that was killed:
// that of a living one would have the vault's file locked.
func startOwner(v *Vault) (*owner, error) {
	folder, err := socketFolderOf(v.db.Path())
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	if err := checkFolder(folder); err != nil {
		return nil, err
	}
	if err := os.Remove(filepath.Join(folder, socketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	address, release, err := socketAddress(folder)
	if err != nil {
		return nil, err
	}
	defer release()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // the address may be another's by then
	if err := os.Chmod(filepath.Join(folder, socketName), 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	o := &owner{v: v, folder: folder, done: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+snapshotRoute, o.snapshot)
	o.server = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          slog.NewLogLogger(v.log.Handler(), slog.LevelDebug),
	}
	go func() {
		_ = o.server.Serve(ln) // until stop
		close(o.done)
	}()
	return o, nil
}

// stop ends before the file's lock does, so that it never removes the socket of
// the next owner.
func (o *owner) stop() {
	if o == nil {
		return
	}
	_ = o.server.Close()
	<-o.done
	_ = os.Remove(filepath.Join(o.folder, socketName))
	_ = os.Remove(o.folder)
}

// snapshot answers with a copy of the file. It is written beside the file first: a
// reader who is slow would otherwise hold the transaction, and with it every writer
// for whom the file has to grow.
func (o *owner) snapshot(w http.ResponseWriter, r *http.Request) {
	f, err := o.spool(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	if _, err := io.Copy(w, f); err == nil {
		o.v.log.InfoContext(r.Context(), "a snapshot of the local vault was taken", "bytes", info.Size())
	}
}

func (o *owner) spool(ctx context.Context) (*os.File, error) {
	o.one.Lock()
	defer o.one.Unlock()
	return spool(filepath.Dir(o.v.db.Path()), func(w io.Writer) error {
		return o.v.view(ctx, func(tx *bbolt.Tx) error {
			_, err := tx.WriteTo(w)
			return err
		})
	})
}

// spool returns a file that has no name, so that nothing is left of it when it is
// closed, however that happens.
func spool(dir string, fill func(io.Writer) error) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".vault-snapshot-*") // mode 0600
	if err != nil {
		return nil, err
	}
	if err = errors.Join(os.Remove(f.Name()), fill(f)); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

var errNoOwner = errors.New("no process has the vault open")

// askOwner writes a snapshot to w, or fails with errNoOwner before it wrote
// anything.
func askOwner(ctx context.Context, path string, w io.Writer) error {
	folder, err := socketFolderOf(path)
	if err != nil {
		return err
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		address, release, err := socketAddress(folder)
		if err != nil {
			return nil, err
		}
		defer release()
		return (&net.Dialer{}).DialContext(ctx, "unix", address)
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://owner"+snapshotRoute, nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(r)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return errNoOwner
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s is another user's; run this as the user whose vault it is", folder)
	case err != nil:
		return fmt.Errorf("the process that has the vault open does not answer: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return fmt.Errorf("the process that has the vault open could not copy it: %s", text)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("the copy is not whole: %w", err)
	}
	return nil
}

// socketFolderOf returns the folder beside the file itself, wherever links lead
// there.
func socketFolderOf(path string) (string, error) {
	file, err := filepath.EvalSymlinks(path)
	return file + socketFolder, err
}

// checkFolder refuses a folder into which others can look, or which leads
// elsewhere.
func checkFolder(folder string) error {
	info, err := os.Lstat(folder)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no folder; remove it", folder)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s is open to others (mode %#o); run: chmod 700 %s", folder, info.Mode().Perm(), folder)
	}
	return nil
}

// socketAddress returns the path to bind or to dial: the socket's own, or one
// through the open folder where that is too long. It holds until release.
func socketAddress(folder string) (path string, release func(), err error) {
	path = filepath.Join(folder, socketName)
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(folder)
	if err != nil {
		return "", nil, err
	}
	through := fmt.Sprintf("/proc/self/fd/%d", dir.Fd())
	if _, err := os.Stat(through); err != nil {
		_ = dir.Close()
		return "", nil, fmt.Errorf("%s is longer than the %d bytes that a socket's path may have here; keep the vault in a folder with a shorter path",
			path, maxSocketPath)
	}
	return filepath.Join(through, socketName), func() { _ = dir.Close() }, nil
}

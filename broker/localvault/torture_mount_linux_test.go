package localvault_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/localvault"
)

// ownMounts is for ownProcess: what the process mounts is gone with it.
func ownMounts(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
}

// run runs a command that a privileged test needs, or skips the test.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: it needs the right to mount file systems: %s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// ext4 is a file system in a file.
type ext4 struct{ image, at string }

// newExt4 makes and mounts one in dir. Only root can.
func newExt4(t *testing.T, dir, size string, options ...string) ext4 {
	t.Helper()
	fs := ext4{filepath.Join(dir, "image"), filepath.Join(dir, "mounted")}
	must(t, os.Mkdir(fs.at, 0o700))
	run(t, "truncate", "-s", size, fs.image)
	run(t, "mkfs.ext4", append([]string{"-q", "-F", fs.image}, options...)...)
	fs.mount(t)
	return fs
}

func (fs ext4) mount(t *testing.T) {
	t.Helper()
	run(t, "mount", "-o", "loop,dioread_lock", fs.image, fs.at)
	t.Cleanup(func() { _ = unix.Unmount(fs.at, unix.MNT_DETACH) })
}

// cutPower ends the file system as a power cut would: nothing that it has in memory
// reaches its disk any more, and whoever uses it gets errors.
func (fs ext4) cutPower(t *testing.T) {
	t.Helper()
	d, err := os.Open(fs.at)
	must(t, err)
	const shutdown, noLogFlush = 0x8004587d, 2
	how := uint32(noLogFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), shutdown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		t.Fatalf("FS_IOC_SHUTDOWN: %v", errno)
	}
	must(t, d.Close())
}

// again mounts the file system as the machine would when it is back.
func (fs ext4) again(t *testing.T) {
	t.Helper()
	must(t, unix.Unmount(fs.at, 0))
	fs.mount(t)
}

const tortureDir = "LOCALVAULT_TORTURE_DIR"

// TestPowerCutWriter is the process that writes until it cannot.
func TestPowerCutWriter(t *testing.T) {
	dir := os.Getenv(tortureDir)
	if dir == "" {
		t.Skip("run by other tests")
	}
	v, err := localvault.Open(config(dir))
	if err != nil {
		return // the power may be gone by now
	}
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := 0; ; i++ {
				s, err := v.Secrets().SetSecret(t.Context(), secretName(t, fmt.Sprintf("of-%d-%d", w, i%5)), newSecret(valueFor(w, i)))
				if err != nil {
					return
				}
				_, _ = fmt.Fprintf(os.Stdout, "set %v %d %d\n", s.Name, w, i)
			}
		})
	}
	all.Wait()
}

// startWriter runs TestPowerCutWriter in dir, and takes note of what it says until it
// ends.
func startWriter(t *testing.T, dir string, a *acks) (count func() int, wait func(), kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPowerCutWriter$")
	cmd.Env = append(os.Environ(), tortureDir+"="+dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			var text string
			var w, i int
			if _, err := fmt.Sscanf(line, "set %s %d %d\n", &text, &w, &i); err != nil {
				continue // the testing package's own
			}
			name, err := broker.ParseName(broker.KindSecrets, text)
			if err != nil {
				t.Error(err)
				return
			}
			a.set(name, valueFor(w, i))
		}
	}()
	count = func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.values)
	}
	return count, func() { <-ended; _ = cmd.Wait() }, func() { _ = cmd.Process.Kill() }
}

// A file system that is cut off in the middle of writes has, when it is back, all
// that was acknowledged.
func TestTorturePowerCuts(t *testing.T) {
	if !ownProcess(t, ownMounts) {
		return
	}
	cuts := brokertest.TortureSize(t, 3, 200)
	fs := newExt4(t, scratch(t), "256M")
	chance := rand.New(rand.NewPCG(3, 4))
	var dir string
	var a *acks
	acknowledged, looked, created := 0, 0, 0
	for cut := range cuts {
		if cut%8 == 0 { // the vault itself is made, too
			if dir != "" {
				must(t, os.RemoveAll(dir))
			}
			dir, a = filepath.Join(fs.at, fmt.Sprint("vault-", cut)), newAcks()
			must(t, os.Mkdir(dir, 0o700))
			unix.Sync()
			created++
		}
		count, wait, kill := startWriter(t, dir, a)
		before, enough := count(), chance.IntN(60)
		for began := time.Now(); count()-before < enough && time.Since(began) < 10*time.Second; {
			time.Sleep(time.Millisecond)
		}
		if enough == 0 {
			time.Sleep(time.Duration(chance.IntN(100)) * time.Millisecond) // while it opens
		}
		fs.cutPower(t)
		late := time.AfterFunc(10*time.Second, kill)
		wait()
		late.Stop()
		acknowledged += count() - before
		fs.again(t)
		looked += a.check(t, fmt.Sprint("power cut ", cut), dir)
		a.set(latest(t, dir, "one-more"), "x")
	}
	t.Logf("%d power cuts of a mounted ext4, %d vaults made meanwhile, %d sets acknowledged, looked for %d times: see above for what is lost or torn", cuts, created, acknowledged, looked)
}

func latest(t *testing.T, dir, object string) broker.Name {
	t.Helper()
	v, err := localvault.Open(config(dir))
	must(t, err)
	s, err := v.Secrets().GetSecret(t.Context(), secretName(t, object))
	must(t, errors.Join(err, v.Close()))
	return s.Name
}

// A disk that cannot keep what it took stops the vault. Opened again it has what the
// disk has, not what the kernel still shows of what it could not write.
func TestTortureLostWrites(t *testing.T) {
	if !ownProcess(t, ownMounts) {
		return
	}
	rounds := brokertest.TortureSize(t, 2, 40)
	base := scratch(t)
	failed, acknowledged := 0, 0
	for round := range rounds {
		// What is left of the file system has nothing behind it, for want of memory: the
		// file system's own blocks are kept, and only the sync gets to know that the
		// vault's are not.
		dir := filepath.Join(base, fmt.Sprint(round))
		must(t, os.Mkdir(dir, 0o700))
		run(t, "mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", dir)
		fs := newExt4(t, dir, "32M", "-b", "4096", "-m", "0", "-E", "lazy_itable_init=0", "-O", "^has_journal")
		run(t, "fallocate", "-l", "32M", fs.image)
		// The loop driver takes a write of which a part could be made for a whole one.
		device, err := exec.CommandContext(t.Context(), "losetup", "-n", "-O", "NAME", "-j", fs.image).Output()
		must(t, err)
		must(t, os.WriteFile("/sys/block/"+filepath.Base(strings.TrimSpace(string(device)))+"/queue/max_sectors_kb", []byte("4"), 0))
		left := filepath.Join(fs.at, "left")
		run(t, "fallocate", "-l", "4M", left)
		at := filepath.Join(fs.at, "vault")
		must(t, os.Mkdir(at, 0o700))
		takeAllBut(t, filepath.Join(fs.at, "rest"), fs.at, 0)
		unix.Sync()
		extents, err := exec.CommandContext(t.Context(), "filefrag", "-b4096", "-v", left).Output()
		must(t, err)
		must(t, os.Remove(left))
		unix.Sync()
		for line := range strings.Lines(string(extents)) {
			var i, from, to, at, end, length int
			if n, _ := fmt.Sscanf(strings.ReplaceAll(line, "..", " "), "%d: %d %d: %d %d: %d:", &i, &from, &to, &at, &end, &length); n == 6 {
				run(t, "fallocate", "-p", "-o", fmt.Sprint(at<<12), "-l", fmt.Sprint(length<<12), fs.image)
			}
		}
		takeAllBut(t, filepath.Join(dir, "ballast"), dir, 128<<10+round*12<<10)
		a := newAcks()
		for op := range 4 {
			var seen sync.Once
			v, err := localvault.Open(config(at))
			if err != nil {
				failed++
				continue
			}
			for i := range 40 {
				value := strings.Repeat(valueFor(round, i), 3)[:min(3*len(valueFor(round, i)), broker.MaxValueLen)]
				s, err := v.Secrets().SetSecret(t.Context(), secretName(t, fmt.Sprint("a-", op, "-", i%7)), newSecret(value))
				if err != nil {
					seen.Do(func() { failed++ })
					continue
				}
				a.set(s.Name, value)
			}
			_ = v.Close()
		}
		run(t, "mount", "-o", "remount,size=80m", dir)
		fs.cutPower(t)
		must(t, unix.Unmount(fs.at, 0))
		// Without a journal it is mended as after a crash; 1 says that it was.
		if out, err := exec.CommandContext(t.Context(), "e2fsck", "-fy", fs.image).CombinedOutput(); err != nil && !strings.Contains(err.Error(), "status 1") {
			t.Fatalf("e2fsck: %v\n%s", err, out)
		}
		fs.mount(t)
		acknowledged += a.check(t, fmt.Sprint("round ", round), at)
		must(t, unix.Unmount(fs.at, 0))
		must(t, unix.Unmount(dir, unix.MNT_DETACH))
	}
	if failed == 0 {
		t.Error("the disk never failed: nothing was shown")
	}
	t.Logf("%d rounds, the disk failed %d opened vaults, %d sets were acknowledged", rounds, failed, acknowledged)
}

// A full disk refuses writes and goes on with reads; once it has room, it takes writes
// again, and nothing is lost meanwhile.
func TestTortureFullDisk(t *testing.T) {
	if !ownProcess(t, ownMounts) {
		return
	}
	base := scratch(t)
	for _, kind := range []string{"tmpfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			dir := filepath.Join(base, kind)
			must(t, os.Mkdir(dir, 0o700))
			if kind == "tmpfs" {
				run(t, "mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", dir)
				t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			} else {
				dir = newExt4(t, dir, "8M", "-m", "0").at
			}
			a := newAcks()
			at := filepath.Join(dir, "vault")
			must(t, os.Mkdir(at, 0o700))
			v := open(t, config(at))
			refused, taken := 0, 0
			for round := range brokertest.TortureSize(t, 3, 30) {
				ballast := filepath.Join(dir, "ballast")
				takeAllBut(t, ballast, dir, 16<<10*(1+round%4))
				for i := range 40 {
					value := valueFor(round, i)
					s, err := v.Secrets().SetSecret(t.Context(), secretName(t, fmt.Sprint("a-", i%3)), newSecret(value))
					if err != nil {
						wantCode(t, "SetSecret on a full disk", err, broker.CodeVaultUnavailable)
						refused++
						break
					}
					a.set(s.Name, value)
				}
				for name, value := range a.values {
					wantValue(t, v, name, value)
				}
				must(t, os.Remove(ballast))
				value := valueFor(round, 1)
				s, err := v.Secrets().SetSecret(t.Context(), secretName(t, "b"), newSecret(value))
				if err != nil {
					t.Fatalf("round %d: with room again: %v", round, err)
				}
				taken++
				a.set(s.Name, value)
				if len(a.values) > 60 { // make room for good
					for name := range a.values {
						_, _ = v.Secrets().DeleteSecret(t.Context(), name.Base())
						_ = v.Secrets().PurgeSecret(t.Context(), name.Base())
					}
					a = newAcks()
				}
			}
			must(t, v.Close())
			a.check(t, kind, at)
			if refused == 0 {
				t.Error("the disk was never full: nothing was shown")
			}
			t.Logf("%s: %d sets were refused for want of room, %d taken once there was some", kind, refused, taken)
		})
	}
}

// takeAllBut takes the room that a file system has, but for so many bytes.
func takeAllBut(t *testing.T, path, dir string, rest int) {
	t.Helper()
	var s unix.Statfs_t
	must(t, unix.Statfs(dir, &s))
	n := int64(s.Bavail)*s.Bsize - int64(rest)
	if n <= 0 {
		n = 1
	}
	f, err := os.Create(path)
	must(t, err)
	_, err = io.CopyN(f, zeros{}, n)
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	must(t, errors.Join(f.Sync(), f.Close()))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

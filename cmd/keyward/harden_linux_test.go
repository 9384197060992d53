package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// nobody is a user that these tests are not run by.
const nobody = 65534

// another returns how to run keyward as a user who is not root, in a folder of
// that user's. Where the tests are not run by root, that is who they are run by.
func another(t *testing.T) (keyward, dir string, as *syscall.SysProcAttr) {
	t.Helper()
	keyward, err := exec.LookPath("keyward")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		return keyward, t.TempDir(), &syscall.SysProcAttr{}
	}
	// Not t.TempDir, which is for the user of the tests alone.
	dir, err = os.MkdirTemp("", "keyward-nobody-") //nolint:usetesting // a folder of another kind than the tests have
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	copied := filepath.Join(dir, "keyward")
	if err := copyFile(copied, keyward); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, copied} {
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Skip("files cannot be given to another user here:", err)
		}
	}
	return copied, dir, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}

func owner(t *testing.T, path string) uint32 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}

// What a server holds cannot be read by another process of its user, and a
// server that is not root does all the same what it did.
func TestServersKeepTheirMemoryToThemselves(t *testing.T) {
	keyward, dir, as := another(t)
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(name, args...)
		cmd.SysProcAttr = as
		return cmd
	}
	data := filepath.Join(dir, "data")
	// A name that is too long for a socket's path, which is then bound through
	// /proc/self.
	long := filepath.Join(dir, strings.Repeat("long", 25))
	dev := startCommand(t, data, command(keyward, devArgs(data)...))
	servers := map[string]*process{
		"dev":   dev,
		"vault": startCommand(t, long, command(keyward, "vault", "--data", long, "--addr", "127.0.0.1:0")),
		"serve": startServe(t, data, command(keyward, "serve", "--config", serveBeside(t, dev))),
	}
	for name, p := range servers {
		t.Run(name, func(t *testing.T) {
			proc := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
			if who := owner(t, proc); who == 0 {
				t.Fatal("it is run by root, of whom nothing can be told")
			}
			if line := regexp.MustCompile(`(?m)^Max core file size .*$`).FindString(read(t, proc+"limits")); !regexp.MustCompile(`size +0 +0 +bytes`).MatchString(line) {
				t.Errorf("core dumps have the limit %q", line)
			}
			for _, file := range []string{"mem", "environ", "maps"} {
				if who := owner(t, proc+file); who != 0 {
					t.Errorf("%s belongs to user %d", file, who)
				}
				if out, err := command("cat", proc+file).CombinedOutput(); err == nil || !strings.Contains(string(out), "ermission denied") {
					t.Errorf("another process of the user reads %s: %v, %d bytes", file, err, len(out))
				}
			}
		})
	}
	if who := owner(t, filepath.Join(data, "vault.db")); who == 0 {
		t.Error("root has made the files")
	}

	if err := set(t.Context(), dev.secrets(), "a", "x"); err != nil {
		t.Error(err)
	}
	metrics := dev.metrics()
	for _, name := range []string{"process_open_fds", "process_resident_memory_bytes", "process_cpu_seconds_total", "go_gc_gomemlimit_bytes"} {
		if !strings.Contains(metrics, "\n"+name+" ") {
			t.Errorf("no metric %s", name)
		}
	}
	out, err := command(keyward, "vault", "backup", "--data", long, "--out", filepath.Join(dir, "copy.db")).CombinedOutput()
	if err != nil {
		t.Errorf("no backup of a vault that is in use: %v\n%s", err, out)
	}
}

// serveBeside is the configuration of a keyward serve that has the folder in
// common with a keyward dev, and a vault of its own.
func serveBeside(t *testing.T, dev *process) (file string) {
	t.Helper()
	file = dev.file("keyward.yaml")
	err := os.WriteFile(file, []byte(`
grpc: {address: "127.0.0.1:0"}
http: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0"}
tls: {certificate: server.pem, key: server-key.pem, clientCa: ca.pem}
identity: {mtls: {trustDomain: dev.keyward}}
policy: {path: policy}
audit: {path: edge.jsonl}
drain: {notice: 0s, timeout: 5s}
vaults:
  edge: {local: {path: edge.db, keyFile: edge.key}}
`), 0o600)
	if err == nil {
		err = os.Chmod(file, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// A crash leaves no core dump, not even where the surroundings ask for one.
func TestNoCoreDump(t *testing.T) {
	dir := t.TempDir()
	crash := func(script string, args ...string) *exec.Cmd {
		cmd := exec.Command("sh", append([]string{"-c", `ulimit -c "$(ulimit -H -c)"; ` + script, "sh"}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOTRACEBACK=crash")
		return cmd
	}
	dumped := func(cmd *exec.Cmd) bool {
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !status.Signaled() || status.Signal() != syscall.SIGABRT {
			t.Fatalf("it did not crash: %v", cmd.ProcessState)
		}
		return status.CoreDump()
	}
	other := crash("kill -ABRT $$")
	if _ = other.Run(); !dumped(other) {
		t.Skip("nothing leaves a core dump here")
	}
	p := startCommand(t, dir, crash(`exec "$@"`, "keyward", "vault", "--data", filepath.Join(dir, "data"), "--addr", "127.0.0.1:0"))
	if _ = p.stop(syscall.SIGABRT); dumped(p.cmd) {
		t.Error("it left a core dump")
	}
}

// The limit of Go's memory is that of the cgroup, less a tenth, and GOMEMLIMIT wins.
func TestMemoryLimitOfTheCgroup(t *testing.T) {
	const mib = 1 << 20
	tests := []struct {
		name   string
		mount  string            // how the memory's cgroups are mounted at CGROUPS
		cgroup string            // the process's
		files  map[string]string // below CGROUPS
		env    string
		want   int64
		said   string
	}{
		{
			name: "its own", mount: "cgroup2 cgroup2 rw", cgroup: "0::/", files: map[string]string{"memory.max": "209715200"},
			want: 180 * mib, said: "from=cgroup cgroup_bytes=209715200",
		},
		{
			name: "its parent's", mount: "cgroup2 cgroup2 rw", cgroup: "0::/pods/one/keyward",
			files: map[string]string{"pods/memory.max": "max", "pods/one/memory.max": "314572800", "pods/one/keyward/memory.max": "max"},
			want:  270 * mib, said: "from=cgroup cgroup_bytes=314572800",
		},
		{
			name: "the least", mount: "cgroup2 cgroup2 rw", cgroup: "0::/pods/one",
			files: map[string]string{"pods/memory.max": "314572800", "pods/one/memory.max": "209715200"},
			want:  180 * mib, said: "from=cgroup cgroup_bytes=209715200",
		},
		{
			name: "of version 1", mount: "cgroup cgroup rw,memory", cgroup: "4:memory:/docker/one",
			files: map[string]string{
				"docker/one/memory.limit_in_bytes": "9223372036854771712",
				"docker/one/memory.stat":           "cache 0\nhierarchical_memory_limit 419430400\n",
			},
			want: 360 * mib, said: "from=cgroup cgroup_bytes=419430400",
		},
		{
			name: "none", mount: "cgroup2 cgroup2 rw", cgroup: "0::/pods", files: map[string]string{"pods/memory.max": "max"},
			want: 1<<63 - 1, said: `"no memory limit"`,
		},
		{
			name: "damaged", mount: "cgroup2 cgroup2 rw", cgroup: "0::/pods", files: map[string]string{"pods/memory.max": "much"},
			want: 1<<63 - 1, said: `level=WARN msg="no memory limit: the cgroup's cannot be read`,
		},
		{
			name: "GOMEMLIMIT", mount: "cgroup2 cgroup2 rw", cgroup: "0::/", files: map[string]string{"memory.max": "209715200"},
			env: "GOMEMLIMIT=100MiB", want: 100 * mib, said: "from=GOMEMLIMIT",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(file, text string) {
				t.Helper()
				file = filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("proc/self/cgroup", tt.cgroup)
			write("proc/self/mountinfo", fmt.Sprintf("31 23 0:28 / %s rw,relatime - %s", filepath.Join(dir, "cgroups"), tt.mount))
			for file, text := range tt.files {
				write("cgroups/"+file, text)
			}
			// A namespace in which the process sees these for its own.
			inside := []string{"--map-root-user", "--mount", "sh", "-c", `mount --bind "$0" /proc && exec "$@"`, filepath.Join(dir, "proc")}
			if out, err := exec.Command("unshare", append(inside, "true")...).CombinedOutput(); err != nil {
				t.Skipf("no namespaces here: %v\n%s", err, out)
			}
			data := filepath.Join(dir, "data")
			cmd := exec.Command("unshare", append(append(inside, "keyward"), devArgs(data)...)...)
			cmd.Env = append(os.Environ(), "GOMEMLIMIT=", tt.env)
			p := startCommand(t, data, cmd)

			m := regexp.MustCompile(`(?m)^go_gc_gomemlimit_bytes (\S+)$`).FindStringSubmatch(p.metrics())
			if m == nil {
				t.Fatal("the limit is not among the metrics")
			}
			if got, err := strconv.ParseFloat(m[1], 64); err != nil || got != float64(tt.want) {
				t.Errorf("the limit is %s bytes, want %d", m[1], tt.want)
			}
			var lines []string
			for line := range strings.Lines(p.err.String()) {
				if strings.Contains(line, "memory limit") {
					lines = append(lines, line)
				}
			}
			if len(lines) != 1 || !strings.Contains(lines[0], tt.said) {
				t.Errorf("the log says %q, want %q once", lines, tt.said)
			}
		})
	}
}

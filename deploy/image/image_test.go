package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// build makes a small Go binary, with more of the environment and more flags.
func build(t *testing.T, env []string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "keyward")
	cmd := exec.CommandContext(t.Context(), "go", append(append([]string{"build", "-o", out}, flags...), source)...)
	cmd.Env = append(append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0", "GOFLAGS="), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

func certificates(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// unpack reads a tar archive: what is in each file, and all headers.
func unpack(t *testing.T, archive []byte) (contents map[string][]byte, headers []*tar.Header) {
	t.Helper()
	contents = map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF { //nolint:errorlint // as the package documents it
			return contents, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		headers = append(headers, h)
		if contents[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// blob follows a descriptor, and holds it to its digest and size.
func blob(t *testing.T, contents map[string][]byte, d descriptor, mediaType string) []byte {
	t.Helper()
	data, ok := contents["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
	if !ok || digest(data) != d.Digest || len(data) != d.Size || d.MediaType != mediaType {
		t.Fatalf("%+v: there: %t, digest %s, %d bytes; want %s", d, ok, digest(data), len(data), mediaType)
	}
	return data
}

func decode[T any](t *testing.T, data []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return v
}

func TestImageReadBack(t *testing.T) {
	binary, ca, out := build(t, nil, "-trimpath"), certificates(t), filepath.Join(t.TempDir(), "image.tar")
	var told bytes.Buffer
	if err := run([]string{"-version", "1.2.3", "-ca", ca, binary, out}, &told); err != nil {
		t.Fatal(err)
	}
	archive, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	contents, _ := unpack(t, archive)
	if got := string(contents["oci-layout"]); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout is %s", got)
	}
	top := decode[index](t, contents["index.json"])
	if len(top.Manifests) != 1 || top.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "1.2.3" {
		t.Fatalf("index: %+v", top)
	}
	if !strings.Contains(told.String(), top.Manifests[0].Digest) {
		t.Errorf("said %q, want the digest %s", told.String(), top.Manifests[0].Digest)
	}
	m := decode[manifest](t, blob(t, contents, top.Manifests[0], typeManifest))
	c := decode[configuration](t, blob(t, contents, m.Config, typeConfig))
	if c.OS != "linux" || c.Architecture != "arm64" || len(m.Layers) != 1 {
		t.Fatalf("%s/%s, %d layers", c.OS, c.Architecture, len(m.Layers))
	}
	sameAsContainerfile(t, c.Config)

	z, err := gzip.NewReader(bytes.NewReader(blob(t, contents, m.Layers[0], typeLayer)))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.RootFS.DiffIDs) != 1 || c.RootFS.DiffIDs[0] != digest(plain) {
		t.Errorf("diff ids %q, want %s", c.RootFS.DiffIDs, digest(plain))
	}
	inside, headers := unpack(t, plain)
	var names []string
	for _, h := range headers {
		names = append(names, h.Name)
		if h.Uid != 0 || h.Gid != 0 || h.Mode&0o222 != 0 && h.Typeflag != tar.TypeDir || !h.ModTime.Equal(epoch) {
			t.Errorf("%s: of %d:%d, mode %#o, time %s; want root's, not to be written, from the epoch", h.Name, h.Uid, h.Gid, h.Mode, h.ModTime)
		}
	}
	if want := []string{"etc/", "etc/ssl/", "etc/ssl/certs/", "etc/ssl/certs/ca-certificates.crt", "keyward"}; !slices.Equal(names, want) {
		t.Errorf("the image holds %q, want %q", names, want)
	}
	for name, from := range map[string]string{"keyward": binary, "etc/ssl/certs/ca-certificates.crt": ca} {
		if want, err := os.ReadFile(from); err != nil || !bytes.Equal(inside[name], want) {
			t.Errorf("%s is not %s (%v)", name, from, err)
		}
	}
}

// sameAsContainerfile holds the image to what the Containerfile says.
func sameAsContainerfile(t *testing.T, s settings) {
	t.Helper()
	text, err := os.ReadFile("../Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	quoted := func(list []string) string {
		out, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(out), `","`, `", "`)
	}
	var ports []string
	for p := range s.ExposedPorts {
		ports = append(ports, strings.TrimSuffix(p, "/tcp"))
	}
	slices.Sort(ports)
	for _, line := range []string{
		"FROM scratch", "USER " + s.User, "WORKDIR " + s.WorkingDir, "STOPSIGNAL " + s.StopSignal,
		"EXPOSE " + strings.Join(ports, " "), "ENTRYPOINT " + quoted(s.Entrypoint), "CMD " + quoted(s.Cmd),
		"COPY --chmod=0555 keyward /keyward",
		"COPY --chmod=0444 ca-certificates.crt /etc/ssl/certs/ca-certificates.crt",
	} {
		if !slices.Contains(strings.Split(string(text), "\n"), line) {
			t.Errorf("the Containerfile has no line %q", line)
		}
	}
}

func TestImageIsReproducible(t *testing.T) {
	binary, ca, dir := build(t, nil, "-trimpath"), certificates(t), t.TempDir()
	var made [2][]byte
	for i := range made {
		out := filepath.Join(dir, "image.tar")
		if err := run([]string{"-ca", ca, binary, out}, io.Discard); err != nil {
			t.Fatal(err)
		}
		var err error
		if made[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Error("two images of the same files differ")
	}
}

// What would not start in an image from scratch does not get into one.
func TestImageRefuses(t *testing.T) {
	binary, ca := build(t, nil, "-trimpath"), certificates(t)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		args []string
		want string
	}{
		"another system":      {[]string{"-ca", ca, build(t, []string{"GOOS=windows"}, "-trimpath")}, "GOOS=windows"},
		"paths of a machine":  {[]string{"-ca", ca, build(t, nil)}, "make build"},
		"no binary":           {[]string{"-ca", ca, ca}, "no Go binary"},
		"no CA":               {[]string{"-ca", empty, binary}, "has no certificate"},
		"no file of CAs":      {[]string{"-ca", empty + "?", binary}, "name a file of them with -ca"},
		"no archive to write": {nil, "want the binary and the archive"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "image.tar")
			err := run(append(test.args, out), io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("an archive was made")
			}
		})
	}
}

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path"
	"slices"
	"time"
)

// user owns nothing in the image, and is who it runs as. Kubernetes'
// runAsNonRoot wants a number.
const user = "65532:65532"

// epoch is the time of all that is in the image.
var epoch = time.Unix(0, 0).UTC()

// file is one of the image's. All belong to root: who runs cannot change them.
type file struct {
	name string // no leading slash
	mode int64
	data []byte
}

type image struct {
	architecture string
	version      string
	files        []file
}

const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// The documents of the OCI image specification, as much of them as we write.
type (
	descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int               `json:"size"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	index struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}
	manifest struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}
	configuration struct {
		Created      time.Time `json:"created"`
		Architecture string    `json:"architecture"`
		OS           string    `json:"os"`
		Config       settings  `json:"config"`
		RootFS       rootFS    `json:"rootfs"`
	}
	settings struct {
		User         string              `json:"User"`
		ExposedPorts map[string]struct{} `json:"ExposedPorts"`
		Entrypoint   []string            `json:"Entrypoint"`
		Cmd          []string            `json:"Cmd"`
		WorkingDir   string              `json:"WorkingDir"`
		StopSignal   string              `json:"StopSignal"`
		Labels       map[string]string   `json:"Labels"`
	}
	rootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
)

// archive returns the image as a tar archive, and the digest of its manifest.
func (i image) archive() (archive []byte, manifestDigest string, err error) {
	plain, err := pack(i.files)
	if err != nil {
		return nil, "", err
	}
	var layer bytes.Buffer
	z := gzip.NewWriter(&layer)
	if _, err := z.Write(plain); err != nil {
		return nil, "", err
	}
	if err := z.Close(); err != nil {
		return nil, "", err
	}
	var blobs []file
	add := func(mediaType string, data []byte) descriptor {
		d := descriptor{MediaType: mediaType, Digest: digest(data), Size: len(data)}
		blobs = append(blobs, file{name: "blobs/sha256/" + d.Digest[len("sha256:"):], mode: 0o644, data: data})
		return d
	}
	addJSON := func(mediaType string, v any) descriptor {
		data, merr := json.Marshal(v)
		if merr != nil {
			err = merr
		}
		return add(mediaType, data)
	}
	m := addJSON(typeManifest, manifest{
		SchemaVersion: 2,
		MediaType:     typeManifest,
		Config:        addJSON(typeConfig, i.configuration(digest(plain))),
		Layers:        []descriptor{add(typeLayer, layer.Bytes())},
	})
	if err != nil {
		return nil, "", err
	}
	m.Annotations = map[string]string{
		"org.opencontainers.image.ref.name": i.version,
		"io.containerd.image.name":          "localhost/keyward:" + i.version,
	}
	top, err := json.Marshal(index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{m}})
	if err != nil {
		return nil, "", err
	}
	blobs = append(blobs,
		file{name: "oci-layout", mode: 0o644, data: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		file{name: "index.json", mode: 0o644, data: top})
	archive, err = pack(blobs)
	return archive, m.Digest, err
}

func (i image) configuration(layer string) configuration {
	return configuration{
		Created:      epoch,
		Architecture: i.architecture,
		OS:           "linux",
		Config: settings{
			User:         user,
			ExposedPorts: map[string]struct{}{"7443/tcp": {}, "7444/tcp": {}, "7446/tcp": {}},
			Entrypoint:   []string{"/keyward"},
			Cmd:          []string{"serve", "--config", "/etc/keyward/keyward.yaml"},
			WorkingDir:   "/",
			StopSignal:   "SIGTERM",
			Labels:       map[string]string{"org.opencontainers.image.title": "keyward", "org.opencontainers.image.version": i.version},
		},
		RootFS: rootFS{Type: "layers", DiffIDs: []string{layer}},
	}
}

// pack makes a tar archive of files and the folders that they are in.
func pack(files []file) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	made := map[string]bool{".": true}
	for _, f := range files {
		var folders []string
		for dir := path.Dir(f.name); !made[dir]; dir = path.Dir(dir) {
			made[dir] = true
			folders = append(folders, dir)
		}
		for _, dir := range slices.Backward(folders) {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: epoch, Format: tar.FormatUSTAR}); err != nil {
				return nil, err
			}
		}
		if err := w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: epoch, Format: tar.FormatUSTAR,
		}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

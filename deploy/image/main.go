// Command image makes an OCI image of a static keyward, without a builder, a
// daemon or a registry: a tar archive in the OCI image layout, which
// `podman load`, `docker load`, skopeo and crane read.
//
//	image [-version V] [-ca FILE] BINARY OUT.tar
//
// The same binary and CAs make the same bytes: nothing in it depends on when or
// where it was made.
package main

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	version := flags.String("version", "dev", "the image's tag")
	ca := flags.String("ca", "/etc/ssl/certs/ca-certificates.crt", "the CAs to believe, PEM")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 2 {
		return errors.New("want the binary and the archive to make: image [-version V] [-ca FILE] BINARY OUT.tar")
	}
	binary, err := os.ReadFile(flags.Arg(0))
	if err != nil {
		return err
	}
	architecture, err := platform(binary)
	if err != nil {
		return fmt.Errorf("%s: %w", flags.Arg(0), err)
	}
	roots, err := os.ReadFile(*ca)
	if err != nil {
		return fmt.Errorf("the CA certificates: %w; name a file of them with -ca", err)
	}
	if !bytes.Contains(roots, []byte("-----BEGIN CERTIFICATE-----")) {
		return fmt.Errorf("%s has no certificate in it; name a file of CA certificates with -ca", *ca)
	}
	archive, digest, err := image{
		architecture: architecture,
		version:      *version,
		files: []file{
			{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o444, data: roots},
			{name: "keyward", mode: 0o555, data: binary},
		},
	}.archive()
	if err != nil {
		return err
	}
	if err := os.WriteFile(flags.Arg(1), archive, 0o644); err != nil { //nolint:gosec // an image is no secret
		return err
	}
	fmt.Fprintf(out, "%s: keyward:%s, linux/%s, %s\n", flags.Arg(1), *version, architecture, digest)
	return nil
}

// platform returns the architecture of a binary that runs with nothing beside
// it, and refuses any other: in an image from scratch it would not start.
func platform(binary []byte) (architecture string, err error) {
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		return "", fmt.Errorf("no Go binary: %w", err)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if settings["GOOS"] != "linux" || settings["CGO_ENABLED"] != "0" {
		return "", fmt.Errorf("built with GOOS=%s CGO_ENABLED=%s; make it with: GOOS=linux make build",
			settings["GOOS"], settings["CGO_ENABLED"])
	}
	if settings["-trimpath"] != "true" {
		return "", errors.New("it holds paths of the machine that built it; make it with: make build")
	}
	return settings["GOARCH"], nil
}

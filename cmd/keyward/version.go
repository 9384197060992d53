package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCmd struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"Form of the output: text or json."`
}

// buildVersion returns the module's version, and the revision it was built
// from where the build recorded it.
func buildVersion() (version, revision string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown", ""
	}
	version = info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return version, revision
}

// Run prints the version.
func (c *versionCmd) Run(a *app) error {
	version, revision := buildVersion()
	if c.Output == "json" {
		return json.NewEncoder(a.out).Encode(map[string]string{
			"version": version, "revision": revision, "go": runtime.Version(),
			"os": runtime.GOOS, "arch": runtime.GOARCH,
		})
	}
	_, err := fmt.Fprintf(a.out, "keyward %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

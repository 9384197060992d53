// Command licences lists the licences of all modules that the keyward command is
// linked from, and fails for one that is not on the list of those allowed:
//
//	go run ./deploy/licences > docs/licences.md
//	go run ./deploy/licences -sbom FILE
//
// With -sbom it writes them into a CycloneDX document about the command instead.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("licences", flag.ContinueOnError)
	sbom := flags.String("sbom", "", "write the licences into this CycloneDX document (JSON)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	modules, err := linked("github.com/keyward/keyward/cmd/keyward")
	if err != nil {
		return err
	}
	if err := judge(modules); err != nil {
		return err
	}
	if *sbom != "" {
		return fill(*sbom, modules)
	}
	_, err = io.WriteString(out, table(modules))
	return err
}

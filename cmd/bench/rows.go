package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// row is a part of the table: one way of use, and one or more bounds on it.
type row struct {
	name, what string
	// secrets is how many the vault has for it; 0 is warmNames.
	secrets int
	measure func(context.Context, *rig) ([]result, error)
}

var rows = []row{
	{name: "warm", what: "a cached secret over gRPC, with a client certificate", measure: warm},
	{name: "bearer", what: "a cached secret over gRPC, with a token", measure: bearer},
	{name: "rest", what: "a cached secret over REST", measure: rest},
	{name: "cold", what: "what is added to a call of the vault", measure: cold},
	{name: "batch", what: "a hundred cached secrets in one call", measure: batch},
	{name: "vault", what: "sets of the local vault, each on the disk", measure: localVault},
	{name: "policies", what: "ten thousand policies", measure: manyPolicies},
	{name: "memory", what: "the memory of a hundred thousand cached secrets", secrets: manySecrets, measure: memory},
	{name: "secrets", what: "a hundred thousand cached secrets", secrets: manySecrets, measure: cached},
}

func rowNames() []string {
	var names []string
	for _, r := range rows {
		names = append(names, r.name)
	}
	return names
}

// chooseRows returns the rows of names, in their own order.
func chooseRows(names string) ([]row, error) {
	if names == "all" {
		return rows, nil
	}
	want := strings.Split(names, ",")
	for _, n := range want {
		if !slices.Contains(rowNames(), n) {
			return nil, fmt.Errorf("there is no row %q; there are %s", n, strings.Join(rowNames(), ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return !slices.Contains(want, r.name) }), nil
}

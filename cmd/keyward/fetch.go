package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/status"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// fetched is a secret's value, and the version that it is of.
type fetched struct {
	value   broker.Value
	version string
}

// fetch returns the values of secrets by their full names: all of them, or an
// error that names each one that cannot be had, and why. It takes one call for
// every 100 names.
func (c *client) fetch(ctx context.Context, names []string) (map[string]fetched, error) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	values := make(map[string]fetched, len(names))
	var lacking []string
	for batch := range slices.Chunk(names, broker.MaxBatch) {
		reply, err := c.secrets.BatchGetSecrets(ctx, &keywardv1.BatchGetSecretsRequest{Parent: commonVault(batch), Names: batch})
		if err != nil {
			return nil, err
		}
		if len(reply.GetResults()) != len(batch) {
			return nil, errors.New("the broker did not answer for each secret")
		}
		for i, r := range reply.GetResults() {
			switch {
			case r.GetName() != batch[i]:
				return nil, errors.New("the broker answered for other secrets")
			case r.GetResponse() != nil:
				values[batch[i]] = fetched{broker.NewValue(r.GetResponse().GetValue()), r.GetResponse().GetSecret().GetVersion()}
			default:
				s := status.FromProto(r.GetStatus())
				lacking = append(lacking, fmt.Sprintf("%s: %s (%s)", batch[i], s.Message(), reasonOf(s)))
			}
		}
	}
	if len(lacking) > 0 {
		return nil, advise(fmt.Sprintf("%d of %d secrets cannot be had; nothing was done", len(lacking), len(names)), lacking...)
	}
	return values, nil
}

// commonVault returns the vault that all names are in, or "vaults/-".
func commonVault(names []string) string {
	vault := func(name string) string {
		alias, _, _ := strings.Cut(strings.TrimPrefix(name, "vaults/"), "/")
		return "vaults/" + alias
	}
	first := vault(names[0])
	for _, name := range names {
		if vault(name) != first {
			return "vaults/-"
		}
	}
	return first
}

package main

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// stride is how far apart the names are that a caller asks for in turn: a prime,
// so that it comes to all of them.
const stride = 7919

// dial returns clients of a gRPC server, each with a connection of its own.
func (r *rig) dial(address string, withCertificate bool) ([]keywardv1.SecretServiceClient, error) {
	var all []keywardv1.SecretServiceClient
	for range connections {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(r.callers.tls(withCertificate))))
		if err != nil {
			return nil, err
		}
		r.closers = append(r.closers, conn.Close)
		all = append(all, keywardv1.NewSecretServiceClient(conn))
	}
	return all, nil
}

func getRequests(vault string, names []string) []*keywardv1.GetSecretRequest {
	all := make([]*keywardv1.GetSecretRequest, len(names))
	for i, n := range names {
		all[i] = &keywardv1.GetSecretRequest{Name: secretName(vault, n)}
	}
	return all
}

// gets is a load of Gets over all names, by callers with a certificate.
func (r *rig) gets(server *process, address string, names []string) (load, error) {
	clients, err := r.dial(address, true)
	if err != nil {
		return load{}, err
	}
	return getsBy(server, clients, names), nil
}

// tokenGets is the same by callers with a token, and no certificate.
func (r *rig) tokenGets(server *process, address string, names []string) (load, error) {
	clients, err := r.dial(address, false)
	if err != nil {
		return load{}, err
	}
	l := getsBy(server, clients, names)
	l.dress = func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+r.callers.token)
	}
	return l, nil
}

func getsBy(server *process, clients []keywardv1.SecretServiceClient, names []string) load {
	requests := getRequests("bench", names)
	return load{name: server.name, server: server, callers: callers, call: func(ctx context.Context, caller, n int) error {
		reply, err := clients[caller%len(clients)].GetSecret(ctx, requests[turn(caller, n, len(requests))])
		if err != nil {
			return err
		}
		return wantValue(reply.GetValue())
	}}
}

// batchesBy is the same a hundred names at a time, of which there are as many.
func batchesBy(server *process, clients []keywardv1.SecretServiceClient, names []string) load {
	requests := batchRequests(names)
	return load{name: server.name, server: server, callers: callers, call: func(ctx context.Context, caller, n int) error {
		return batchGet(ctx, clients[caller%len(clients)], requests[turn(caller, n, len(requests))])
	}}
}

func batchRequests(names []string) []*keywardv1.BatchGetSecretsRequest {
	var all []*keywardv1.BatchGetSecretsRequest
	for some := range slices.Chunk(names, batchNames) {
		req := &keywardv1.BatchGetSecretsRequest{Parent: "vaults/bench"}
		for _, n := range some {
			req.Names = append(req.Names, secretName("bench", n))
		}
		all = append(all, req)
	}
	return all
}

func batchGet(ctx context.Context, client keywardv1.SecretServiceClient, req *keywardv1.BatchGetSecretsRequest) error {
	reply, err := client.BatchGetSecrets(ctx, req)
	if err != nil {
		return err
	}
	if got := len(reply.GetResults()); got != len(req.GetNames()) {
		return fmt.Errorf("%d of a batch, want %d", got, len(req.GetNames()))
	}
	for _, one := range reply.GetResults() {
		if err := wantValue(one.GetResponse().GetValue()); err != nil {
			return err
		}
	}
	return nil
}

// turn is the place of the name that a caller asks for in its nth call. Callers
// begin at different ones.
func turn(caller, n, names int) int { return (caller*names/callers + n*stride) % names }

func wantValue(v string) error {
	if len(v) != valueBytes {
		return fmt.Errorf("a value of %d bytes, want %d", len(v), valueBytes)
	}
	return nil
}

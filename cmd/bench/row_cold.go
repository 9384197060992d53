package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/keyward/keyward/broker/keyvault"
)

// coldCalls are the calls of each kind in a round.
const coldCalls = 500

// cold is what keyward adds to a call of the vault, where nothing is kept: one
// caller asks the vault, keyward and a bare gRPC server in turn. The last tells
// what the one hop more costs on this machine, whoever answers.
func cold(ctx context.Context, r *rig) ([]result, error) {
	k, err := r.broker(ctx, usual)
	if err != nil {
		return nil, err
	}
	clients, err := r.dial(k.grpc, true)
	if err != nil {
		return nil, err
	}
	bare, err := r.yardstick(ctx, k, true, "bare-grpc", "-tuned")
	if err != nil {
		return nil, err
	}
	hop, err := r.dial(bare.ready[1], true)
	if err != nil {
		return nil, err
	}
	requests := getRequests("cold", r.names[:warmNames])
	direct, err := r.directly(ctx)
	if err != nil {
		return nil, err
	}
	added := result{what: "cold GetSecret, one caller: added to the median; a pooled REST call of the vault", target: target{bound: 150, unit: "µs"}}
	var ours, theirs, hops []float64
	for round := range r.rounds + 1 {
		var through, straight, hopped []float64
		for i := range coldCalls {
			at := turn(0, i, warmNames)
			began := time.Now()
			if err := direct(r.names[at]); err != nil {
				return nil, err
			}
			middle := time.Now()
			reply, err := clients[0].GetSecret(ctx, requests[at])
			if err != nil {
				return nil, err
			}
			end := time.Now()
			if _, err := hop[0].GetSecret(ctx, requests[at]); err != nil {
				return nil, err
			}
			hopped = append(hopped, micros(time.Since(end)))
			straight = append(straight, micros(middle.Sub(began)))
			through = append(through, micros(end.Sub(middle)))
			if reply.GetFreshness().GetFetchTime().AsTime().Before(middle) {
				return nil, fmt.Errorf("%s was kept", requests[at].GetName())
			}
		}
		if round == 0 {
			continue // both warm up
		}
		ours, theirs, hops = append(ours, median(through)), append(theirs, median(straight)), append(hops, median(hopped))
		added.rounds = append(added.rounds, median(through)-median(straight))
	}
	added.ours, added.against = added.target.figure(median(ours))+"; a bare gRPC call "+added.target.figure(median(hops)), added.target.figure(median(theirs))
	return []result{added}, nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// directly returns a call of the vault as a program without a broker would make
// it: with a token that it has, over a connection that is open.
func (r *rig) directly(ctx context.Context) (func(name string) error, error) {
	vault, err := r.vaultAccess()
	if err != nil {
		return nil, err
	}
	client := r.httpClient(r.callers.tls(false), true)
	token, err := vault.token(ctx, client)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	return func(name string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, vault.url+"/secrets/"+name+"?api-version="+keyvault.DefaultAPIVersion, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		b.Reset()
		if _, err := answer(client, req, &b); err != nil {
			return err
		}
		var secret struct {
			Value string `json:"value"`
		}
		if err := json.Unmarshal(b.Bytes(), &secret); err != nil {
			return err
		}
		return wantValue(secret.Value)
	}, nil
}

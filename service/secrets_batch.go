package service

import (
	"context"
	"fmt"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// allVaults is the parent of a batch with names of several vaults.
const allVaults = "vaults/-"

func (s *secretService) BatchGetSecrets(ctx context.Context, req *keywardv1.BatchGetSecretsRequest) (*keywardv1.BatchGetSecretsResponse, error) {
	return s.batch(ctx, req, valueProto)
}

// batch is BatchGetSecrets, with what a value becomes.
func (s *secretService) batch(
	ctx context.Context, req *keywardv1.BatchGetSecretsRequest, reply func(broker.SecretValue) *keywardv1.GetSecretResponse,
) (*keywardv1.BatchGetSecretsResponse, error) {
	var within broker.Name
	if req.GetParent() != allVaults {
		var err error
		if within, err = broker.ParseVaultName(req.GetParent()); err != nil {
			return nil, ofParent(err)
		}
	}
	maxAge, err := ageOf("max_age", req.GetMaxAge())
	if err != nil {
		return nil, err
	}
	asked := req.GetNames()
	if len(asked) == 0 || len(asked) > broker.MaxBatch {
		return nil, &broker.Error{Code: broker.CodeBadField, Field: "names", Message: fmt.Sprintf("a batch has 1 to %d names", broker.MaxBatch)}
	}
	results, made := make([]*keywardv1.BatchGetSecretsResult, len(asked)), make([]keywardv1.BatchGetSecretsResult, len(asked))
	// What is no name of parent is that item's error, and not asked for. places
	// are those of the others in results.
	var names []broker.Name
	var places []int
	for i, text := range asked {
		results[i] = &made[i]
		results[i].Name = text
		name, err := parseWithin(within, text)
		if err != nil {
			s.fail(ctx, results[i], err)
			continue
		}
		names, places = append(names, name), append(places, i)
	}
	if len(names) > 0 {
		got, err := s.broker.BatchGetSecrets(ctx, caller(ctx), within, names, broker.GetSecretOptions{MaxAge: maxAge})
		if err != nil {
			return nil, err
		}
		for i, g := range got {
			if g.Err != nil {
				s.fail(ctx, results[places[i]], g.Err)
				continue
			}
			results[places[i]].Result = &keywardv1.BatchGetSecretsResult_Response{Response: reply(g.Value)}
		}
	}
	return &keywardv1.BatchGetSecretsResponse{Results: results}, nil
}

// fail makes err the result r, as a call of its own would have answered.
func (s *secretService) fail(ctx context.Context, r *keywardv1.BatchGetSecretsResult, err error) {
	r.Result = &keywardv1.BatchGetSecretsResult_Status{Status: s.refuse(ctx, err).Proto()}
}

// parseWithin parses the name of a secret in a vault, or in any if within is
// zero.
func parseWithin(within broker.Name, s string) (broker.Name, error) {
	n, err := broker.ParseName(broker.KindSecrets, s)
	if err != nil {
		return broker.Name{}, err
	}
	if !within.IsZero() && n.Vault() != within {
		return broker.Name{}, &broker.Error{Code: broker.CodeBadName, Field: "name", Message: "the name is not in parent; vaults/- takes names of several vaults"}
	}
	return n, nil
}

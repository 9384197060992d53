package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/localvault"
)

// rig is everything that runs: the vault, keywards before it, yardsticks. It is
// built as rows ask for it, in a folder that is removed at the end.
type rig struct {
	settings

	dir       string   // replaces that of the settings
	self      string   // this program
	env       []string // of brokers, beside what they need
	names     []string
	vault     *process
	collector *process
	callers   identity
	brokers   map[brokerSpec]*keyward
	bare      map[string]*process
	all       []*process
	closers   []func() error
}

var vaultServes = regexp.MustCompile(`(?m)^ready$`)

// newRig starts the vault, with as many secrets as the rows need.
func newRig(ctx context.Context, s settings, chosen []row) (_ *rig, err error) {
	r := &rig{settings: s, brokers: make(map[brokerSpec]*keyward), bare: make(map[string]*process)}
	if r.dir, err = os.MkdirTemp(s.dir, "keyward-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.self, err = os.Executable(); err != nil {
		return nil, err
	}
	secrets := warmNames
	for _, w := range chosen {
		secrets = max(secrets, w.secrets)
	}
	for i := range secrets {
		r.names = append(r.names, fmt.Sprintf("service-%d-password", i))
	}
	if err := seed(ctx, r.dir, r.names); err != nil {
		return nil, err
	}
	r.vault, err = r.start(ctx, "keyward vault", nil, vaultServes, r.binary, "vault", "--data", r.dir, "--addr", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	if r.callers, err = newIdentity(r.dir); err != nil {
		return nil, err
	}
	r.collector, err = r.start(ctx, "the collector", nil, yardstickReady, r.self, "collector")
	return r, err
}

// seed makes the vault and its secrets, before anything serves it. Many at once
// share a commit.
func seed(ctx context.Context, dir string, names []string) (err error) {
	v, err := localvault.Open(localvault.Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	const writers = 500
	errs := make([]error, writers)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < len(names) && errs[w] == nil; i += writers {
				errs[w] = setSecret(ctx, v.Secrets(), names[i])
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func setSecret(ctx context.Context, store broker.SecretStore, name string) error {
	n, err := broker.ParseName(broker.KindSecrets, secretName("dev", name)) // as keyward vault calls its own
	if err != nil {
		return err
	}
	value := strings.Repeat(rand.Text(), valueBytes/26+1)[:valueBytes]
	_, err = store.SetSecret(ctx, n, broker.NewSecret{Value: broker.NewValue(value), Enabled: true})
	return err
}

func secretName(vault, name string) string { return "vaults/" + vault + "/secrets/" + name }

// start starts a process that ends with the rig.
func (r *rig) start(ctx context.Context, name string, env []string, ready *regexp.Regexp, program string, args ...string) (*process, error) {
	p, err := start(ctx, name, env, ready, program, args...)
	if err == nil {
		r.all = append(r.all, p)
	}
	return p, err
}

// yardstick starts one of this program's servers, once. The garbage collector of
// one that is tuned alike is set as the broker's is.
func (r *rig) yardstick(ctx context.Context, k *keyward, tuned bool, kind string, args ...string) (*process, error) {
	key := fmt.Sprint(kind, tuned)
	if p := r.bare[key]; p != nil {
		return p, nil
	}
	var env []string
	if tuned {
		env = k.garbage
	}
	if err := r.keepAnswers(ctx, k); err != nil {
		return nil, err
	}
	p, err := r.start(ctx, kind, env, yardstickReady, r.self, append([]string{kind, "-dir", r.dir}, args...)...)
	r.bare[key] = p
	return p, err
}

// keepAnswers leaves what the broker answers where the yardsticks find it.
func (r *rig) keepAnswers(ctx context.Context, k *keyward) error {
	client, err := r.dial(k.grpc, true)
	if err != nil {
		return err
	}
	reply, err := client[0].GetSecret(ctx, getRequests("bench", r.names[:1])[0])
	if err != nil {
		return err
	}
	text, err := proto.Marshal(reply)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.dir, answerProto), text, 0o600); err != nil {
		return err
	}
	body, err := r.restAnswer(ctx, k, r.names[0])
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.dir, answerJSON), body, 0o600)
}

// close ends all processes, the first last, and removes the folder.
func (r *rig) close() error {
	var errs []error
	for _, c := range slices.Backward(r.closers) {
		errs = append(errs, c())
	}
	for _, p := range slices.Backward(r.all) {
		errs = append(errs, p.stop())
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}

package localvault_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/localvault"
)

// life is what TestLifeWriter does to a secret, and what the vault shows after
// each step: as many rows, and what a get or a get of the deleted answers.
var life = []struct{ step, state string }{
	{"set 1", "3 rows, 1"},
	{"set 2", "5 rows, 2"},
	{"back up", "5 rows, 2"},
	{"disable", "5 rows, SECRET_DISABLED"},
	{"delete", "5 rows, deleted"},
	{"recover", "5 rows, SECRET_DISABLED"},
	{"delete", "5 rows, deleted"},
	{"purge", "0 rows, SECRET_NOT_FOUND"},
	{"restore", "5 rows, 2"},
}

// TestLifeWriter is the process that TestKilledInALife ends.
func TestLifeWriter(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("run by TestKilledInALife")
	}
	v := open(t, config(dir))
	var blob broker.Value
	for n := 0; ; n++ {
		name := secretName(t, fmt.Sprint("life-", n))
		for _, l := range life {
			must(t, take(t.Context(), v.Secrets(), l.step, name, &blob))
			_, _ = fmt.Fprintln(os.Stdout, name.ObjectName())
		}
	}
}

func take(ctx context.Context, store broker.SecretStore, step string, name broker.Name, blob *broker.Value) (err error) {
	switch step {
	case "back up":
		*blob, err = store.BackupSecret(ctx, name)
	case "disable":
		_, err = store.UpdateSecret(ctx, name, broker.SecretUpdate{Enabled: new(false)})
	case "delete":
		_, err = store.DeleteSecret(ctx, name)
	case "recover":
		_, err = store.RecoverSecret(ctx, name)
	case "purge":
		err = store.PurgeSecret(ctx, name)
	case "restore":
		_, err = store.RestoreSecret(ctx, name.Vault(), *blob)
	default:
		value := strings.TrimPrefix(step, "set ")
		_, err = store.SetSecret(ctx, name, broker.NewSecret{Value: broker.NewValue(value), Enabled: true})
	}
	return err
}

// observe returns what the vault shows of a secret: its value, "deleted", or
// the error's code.
func observe(t *testing.T, v *localvault.Vault, name broker.Name) string {
	t.Helper()
	got, err := v.Secrets().GetSecret(t.Context(), name)
	if err == nil {
		return got.Value.Reveal()
	}
	if _, err := v.Secrets().GetDeletedSecret(t.Context(), name); err == nil {
		return "deleted"
	}
	return string(broker.CodeOf(err))
}

// Whenever a writer is killed, each secret is as one of its steps left it: the
// last that was acknowledged, or the one begun after it.
func TestKilledInALife(t *testing.T) {
	for enough := 1; enough <= 2*len(life); enough++ {
		dir := t.TempDir()
		steps := make(map[string]int) // acknowledged
		for _, object := range runAndKill(t, "TestLifeWriter", dir, enough) {
			steps[object]++
		}
		v := open(t, config(dir))
		states := make(map[string]string)
		for n := range len(steps) + 1 {
			object := fmt.Sprint("life-", n)
			states[object] = observe(t, v, secretName(t, object))
		}
		must(t, v.Close())
		count := rows(t, config(dir))
		for object, shown := range states {
			got, n := fmt.Sprintf("%d rows, %s", count[object], shown), steps[object]
			before := "0 rows, SECRET_NOT_FOUND"
			if n > 0 {
				before = life[n-1].state
			}
			if got != before && (n == len(life) || got != life[n].state) {
				t.Errorf("killed after %d lines: %s is %q %d steps on, want %q or what follows", enough, object, got, n, before)
			}
		}
	}
}

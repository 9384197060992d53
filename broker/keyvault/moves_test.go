package keyvault

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
)

// The memory holds so many moves and no more: the oldest goes first.
func TestMovesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault, err := broker.VaultName("pay")
		if err != nil {
			t.Fatal(err)
		}
		name := func(i int) broker.Name {
			n, err := vault.Object(broker.KindSecrets, fmt.Sprint("s", i))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		gone := &broker.Error{Code: broker.CodeSecretNotFound}
		m := newMoves()
		moves := func(i int) broker.Code { return broker.CodeOf(m.judge(name(i), deleted, time.Now(), gone)) }

		for i := range maxMoves + 10 {
			m.made(name(i), deleted)
			time.Sleep(time.Millisecond)
		}
		if len(m.byName) != maxMoves {
			t.Errorf("%d moves, want %d", len(m.byName), maxMoves)
		}
		if moves(9) != broker.CodeSecretNotFound || moves(10) != broker.CodeSecretInTransition || moves(maxMoves+9) != broker.CodeSecretInTransition {
			t.Error("the oldest were not the ones forgotten")
		}
		time.Sleep(settlesWithin)
		m.made(name(0), deleted)
		if len(m.byName) != 1 {
			t.Errorf("%d moves, want the latest: all others are too old", len(m.byName))
		}
	})
}

// An answer from before a move says nothing about it.
func TestMovesAndOlderAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault, err := broker.VaultName("pay")
		if err != nil {
			t.Fatal(err)
		}
		name, err := vault.Object(broker.KindSecrets, "db")
		if err != nil {
			t.Fatal(err)
		}
		gone := &broker.Error{Code: broker.CodeSecretNotFound}
		m := newMoves()
		before := time.Now()
		time.Sleep(time.Second)
		m.made(name, deleted)
		if err := m.judge(name, deleted, before, nil); err != nil {
			t.Error(err)
		}
		if got := broker.CodeOf(m.judge(name, deleted, before, gone)); got != broker.CodeSecretNotFound {
			t.Errorf("an older absence is %s", got)
		}
		if got := broker.CodeOf(m.judge(name, deleted, time.Now(), gone)); got != broker.CodeSecretInTransition {
			t.Errorf("an older answer ended the memory: %s", got)
		}
	})
}

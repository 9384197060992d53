package policy

import (
	"slices"
	"testing"

	"github.com/keyward/keyward/broker"
)

// What the core says of the actions is what the schema says.
func TestTheCoreKnowsTheSchemasActions(t *testing.T) {
	e, err := load("x", []source{newSource("a.cedar", "permit (principal, action, resource);")})
	if err != nil {
		t.Fatal(err)
	}
	var actions []broker.Action
	for a, types := range e.resources {
		actions = append(actions, a)
		if want := kindOf[types[0]]; a.DecidedOn() != want || len(types) != 1 {
			t.Errorf("%s is decided on %q, and in the schema on %v", a, a.DecidedOn(), types)
		}
	}
	slices.Sort(actions)
	if got := broker.Actions(); !slices.Equal(got, actions) {
		t.Errorf("the core has  %v\nthe schema has %v", got, actions)
	}
}

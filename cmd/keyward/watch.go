package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type watchCmd struct {
	clientFlags

	Name []string `arg:"" complete:"secrets" help:"The secrets, up to 100: db-password in the context's vault, or in full vaults/ALIAS/secrets/NAME."`
}

// Help shows examples.
func (*watchCmd) Help() string {
	return `A line is printed for each secret as it is at the start, if there is one of that name, and for each change: its name, and changed with the version, deleted or disabled. A change through the broker is told within a second, one made elsewhere once the broker's cache lets it see it. No value is printed; of changes in quick succession the last is told for certain.

  keyward watch db-password
  keyward watch db-password vaults/pay/secrets/api-key -o json
  keyward watch db-password | while read -r name what version; do ./reload; done

It runs until it is interrupted. If the broker restarts or cannot be reached it says so on standard error, and goes on where it was once it can: nothing is missed. What fails at the start, and a refusal at any time, end it. It takes the right to watchSecret. JSON is one event a line. To restart a command with new values, see keyward exec --restart-on-change.

Exit codes: 0 interrupted, 1 refused or failed, 2 wrong usage.`
}

// Run prints events until the command is interrupted.
func (c *watchCmd) Run(a *app) error {
	w := newSecretWatch(c.callFlags, trouble{to: a.err, meanwhile: "nothing is missed; trying again"})
	if err := withClient(a, c.callFlags, func(cl *client) error {
		for _, said := range c.Name {
			name, err := cl.secretName(said, "")
			if err != nil {
				return err
			}
			w.known[name] = nil
		}
		return nil
	}); err != nil {
		return err
	}
	for event, err := range w.events(a.ctx, a) {
		if err != nil {
			return err
		}
		if err := c.print(a, event); err != nil {
			return err
		}
	}
	return nil
}

// print prints an event on a line.
func (c *watchCmd) print(a *app, event *keywardv1.SecretEvent) error {
	if c.Output == outputJSON {
		b, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(event)
		if err != nil {
			return err
		}
		var line bytes.Buffer
		if err := json.Compact(&line, b); err != nil { // protojson varies its spaces
			return err
		}
		line.WriteByte('\n')
		_, err = line.WriteTo(a.out)
		return err
	}
	_, err := fmt.Fprintln(a.out, eventText(event))
	return err
}

// eventText is an event in words.
func eventText(event *keywardv1.SecretEvent) string {
	switch event.GetType() {
	case keywardv1.SecretEvent_TYPE_CHANGED:
		return event.GetName() + " changed " + event.GetVersion()
	case keywardv1.SecretEvent_TYPE_DELETED:
		return event.GetName() + " deleted"
	case keywardv1.SecretEvent_TYPE_DISABLED:
		return event.GetName() + " disabled"
	}
	return event.GetName() + " " + event.GetType().String() // of a newer broker
}

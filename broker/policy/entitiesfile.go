package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cedar-policy/cedar-go"
)

// entities returns the entities of entities.json: Cedar's JSON format, an array
// of {"uid", "parents", "attrs"}. It goes on behind a problem where it can.
func (c *checker) entities(src source) (cedar.EntityMap, []problem) {
	dec := json.NewDecoder(strings.NewReader(src.text))
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return nil, []problem{{at: src.at(0), msg: `want an array of entities, such as [{"uid": {"type": "Workload", "id": "…"}, "parents": [{"type": "Group", "id": "…"}], "attrs": {}}]`}}
	}
	entities := cedar.EntityMap{}
	var problems []problem
	for dec.More() {
		at := src.at(skipSeparators(src.text, int(dec.InputOffset())))
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, append(problems, jsonProblem(src, dec, err))
		}
		if raw[0] != '{' {
			problems = append(problems, problem{at: at, msg: `want an entity: {"uid", "parents", "attrs"}`})
			continue
		}
		var e cedar.Entity
		if err := json.Unmarshal(raw, &e); err != nil {
			problems = append(problems, problem{at: at, msg: "not an entity: " + err.Error()})
			continue
		}
		if msg := c.checkEntity(e); msg != "" {
			problems = append(problems, problem{at: at, msg: msg})
		}
		if _, dup := entities[e.UID]; dup {
			problems = append(problems, problem{at: at, msg: fmt.Sprintf("%s is there already: put all its parents into one entity", e.UID)})
		}
		entities[e.UID] = e
	}
	if _, err := dec.Token(); err != nil {
		return nil, append(problems, jsonProblem(src, dec, err))
	}
	end := skipSeparators(src.text, int(dec.InputOffset()))
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		problems = append(problems, problem{at: src.at(end), msg: "nothing may follow the array"})
	}
	return entities, problems
}

// checkEntity returns what is wrong with e, or "".
func (c *checker) checkEntity(e cedar.Entity) string {
	switch e.UID.Type {
	case typeWorkload, typeGroup:
	case typeAction:
		return fmt.Sprintf("%s: the actions and their groups are fixed; remove it", e.UID)
	case typeVault, typeSecret, typeCertificate:
		return fmt.Sprintf("%s: vaults and what is in them are known by their names; remove it", e.UID)
	}
	if err := c.schema.Entity(e); err != nil {
		return fmt.Sprintf("%s: %s", e.UID, err)
	}
	return ""
}

func jsonProblem(src source, dec *json.Decoder, err error) problem {
	offset := int(dec.InputOffset())
	if syn, ok := errors.AsType[*json.SyntaxError](err); ok {
		offset = int(syn.Offset) - 1
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		offset, err = len(src.text), errors.New("the array does not end")
	}
	return problem{at: src.at(min(max(offset, 0), len(src.text))), msg: err.Error()}
}

// skipSeparators returns the offset of the first byte of text that is neither
// white space nor a comma.
func skipSeparators(text string, from int) int {
	return len(text) - len(strings.TrimLeft(text[from:], " \t\r\n,"))
}

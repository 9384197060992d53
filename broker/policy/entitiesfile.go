package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
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
	var order []entityAt
	var problems []problem
	for dec.More() {
		begin := skipSeparators(src.text, int(dec.InputOffset()))
		at := src.at(begin)
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
		problems = append(problems, c.checkEntity(entityAt{src, begin, string(raw), e})...)
		if _, dup := entities[e.UID]; dup {
			problems = append(problems, problem{at: at, msg: fmt.Sprintf("%s is there already: put all its parents into one entity", e.UID)})
		}
		entities[e.UID] = e
		order = append(order, entityAt{src, begin, string(raw), e})
	}
	problems = append(problems, checkCircles(entities, order)...)
	if _, err := dec.Token(); err != nil {
		return nil, append(problems, jsonProblem(src, dec, err))
	}
	end := skipSeparators(src.text, int(dec.InputOffset()))
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		problems = append(problems, problem{at: src.at(end), msg: "nothing may follow the array"})
	}
	return entities, problems
}

// entityAt is an entity and its text, which begins there.
type entityAt struct {
	src    source
	offset int
	text   string
	entity cedar.Entity
}

// problem stands at the word behind the key, or where the entity begins.
func (e entityAt) problem(key, word, format string, args ...any) problem {
	at := e.offset
	if i := strings.Index(e.text, strconv.Quote(key)); key != "" && i >= 0 {
		if j := strings.Index(e.text[i:], strconv.Quote(word)); j >= 0 {
			at += i + j
		}
	}
	return problem{at: e.src.at(at), msg: e.entity.UID.String() + fmt.Sprintf(format, args...)}
}

// checkEntity says what is wrong with e.
func (c *checker) checkEntity(at entityAt) []problem {
	e := at.entity
	say := func(format string, args ...any) []problem {
		return []problem{at.problem("", "", format, args...)}
	}
	switch e.UID.Type {
	case typeGroup:
		if e.UID.ID == "" {
			return say(": a group has a name")
		}
	case typeWorkload:
		if checkWorkload(e.UID) != "" {
			return []problem{{at: at.src.at(at.offset), msg: checkWorkload(e.UID)}}
		}
	case typeAction:
		return say(": the actions and their groups are fixed; remove it")
	case typeVault, typeSecret, typeKey, typeCertificate:
		return say(": vaults and what is in them are known by their names; remove it")
	default:
		return say(": there is no type %q%s", e.UID.Type, didYouMean(string(e.UID.Type), []string{string(typeWorkload), string(typeGroup)}))
	}
	var problems []problem
	for parent := range e.Parents.All() {
		if msg := noType(c.resolved, parent.Type); msg != "" {
			problems = append(problems, at.problem("parents", string(parent.Type), " is in %s: %s", parent, msg))
		} else if parent.Type != typeGroup {
			problems = append(problems, at.problem("parents", string(parent.Type), " is in %s: only a Group has members", parent))
		}
	}
	shape := c.resolved.Entities[e.UID.Type].Shape
	for name, v := range e.Attributes.All() {
		_, known := shape[name]
		s, isString := v.(cedar.String)
		switch {
		case !known && len(shape) == 0:
			problems = append(problems, at.problem("attrs", string(name), " has no attribute %q: a %s has none; remove it", name, e.UID.Type))
		case !known:
			problems = append(problems, at.problem("attrs", string(name), " has no attribute %q%s", name, didYouMean(string(name), attributeNames(shape))))
		case !isString:
			problems = append(problems, at.problem("attrs", string(name), ": the attribute %q is a string; put it in quotes", name))
		case s == "":
			problems = append(problems, at.problem("attrs", string(name), ": the attribute %q is empty; leave it out", name))
		}
	}
	if e.Tags.Len() > 0 {
		problems = append(problems, at.problem("tags", "tags", " has tags, which nothing here has; remove them"))
	}
	if len(problems) == 0 {
		if err := c.schema.Entity(e); err != nil {
			return say(": %s", err)
		}
	}
	return problems
}

// checkCircles finds the groups that are in themselves.
func checkCircles(entities cedar.EntityMap, order []entityAt) []problem {
	var problems []problem
	done := map[cedar.EntityUID]bool{}
	var path []cedar.EntityUID
	var visit func(cedar.EntityUID) []cedar.EntityUID
	visit = func(uid cedar.EntityUID) []cedar.EntityUID {
		if i := slices.Index(path, uid); i >= 0 {
			return append(slices.Clone(path[i:]), uid)
		}
		if done[uid] {
			return nil
		}
		done[uid] = true
		path = append(path, uid)
		defer func() { path = path[:len(path)-1] }()
		for _, parent := range slices.SortedFunc(entities[uid].Parents.All(), compareUIDs) {
			if circle := visit(parent); circle != nil {
				return circle
			}
		}
		return nil
	}
	for _, at := range order {
		if circle := visit(at.entity.UID); len(circle) > 0 {
			var names []string
			for _, uid := range circle[1:] {
				names = append(names, uid.String())
			}
			i := slices.IndexFunc(order, func(o entityAt) bool { return o.entity.UID == circle[0] })
			problems = append(problems, order[i].problem("", "", " is in itself, by way of %s; take one of them out", strings.Join(names, ", then ")))
		}
	}
	return problems
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

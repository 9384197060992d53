package policy

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/keyward/keyward/broker"
)

const (
	policySuffix = ".cedar"
	entitiesFile = "entities.json"
)

//go:embed schema.cedarschema
var schemaText []byte

// loadSchema reads the embedded schema.
var loadSchema = sync.OnceValues(func() (*resolved.Schema, error) {
	var s schema.Schema
	s.SetFilename("schema.cedarschema")
	if err := s.UnmarshalCedar(schemaText); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return s.Resolve()
})

// Load reads the policies of a folder: every *.cedar in it, and entities.json
// if there is one. Other files, hidden files and folders in it are left alone.
//
// All of it is checked: the syntax, every type, attribute and action against
// the schema, that ids are unique, that workloads, groups and resources are
// named as some could be, and that each policy could match some request at some
// time. Vaults that are not there are not known of: see Vaults. The error has a
// line for each problem, "file:line:column: what", in the order of the files,
// with the nearest name that there is; where a problem has no place of its own,
// it is that of its policy. A folder without a policy is an error.
func Load(dir string) (*Engine, error) {
	files, err := readDir(dir)
	if err != nil {
		return nil, err
	}
	return load(dir, files)
}

// load is Load of files that were read in dir.
func load(dir string, files []source) (*Engine, error) {
	sch, err := loadSchema()
	if err != nil {
		return nil, err
	}
	c := newChecker(sch)
	e := &Engine{
		entities:  cedar.EntityMap{},
		resources: map[broker.Action][]cedar.EntityType{},
		hash:      hash(files),
	}
	for uid, a := range sch.Actions {
		e.entities[uid] = a.Entity
		if a.AppliesTo != nil {
			e.resources[broker.Action(uid.ID)] = a.AppliesTo.Resources
		}
	}
	for name := range sch.Entities[typeWorkload].Shape {
		e.attributes = append(e.attributes, string(name))
	}
	var policies policySet
	var problems []problem
	for _, f := range files {
		if filepath.Base(f.path) == entitiesFile {
			entities, ps := c.entities(f)
			maps.Copy(e.entities, entities)
			problems = append(problems, ps...)
			continue
		}
		found, ps := c.policies(f)
		policies = append(policies, found...)
		problems = append(problems, ps...)
	}
	problems = append(problems, c.unknownGroups(e.entities)...)
	if len(problems) > 0 {
		return nil, joinProblems(problems)
	}
	if len(policies) == 0 {
		return nil, noPolicies(dir)
	}
	e.enforce(policies)
	return e, nil
}

// enforce puts policies in force, over the entities that are there.
func (e *Engine) enforce(policies policySet) {
	e.put(policies)
	e.ancestors = ancestors(e.entities)
}

// put is enforce where the entities have not changed.
func (e *Engine) put(policies policySet) {
	for i, p := range policies {
		if _, ok := p.policy.annotation(breakGlass); ok && p.policy.effect() == cedar.Permit {
			policies[i].policy, policies[i].breakGlass = withReason(p.policy), true
			p = policies[i]
		}
		for _, c := range p.policy.ast.Conditions {
			p.conditional = true
			p.choosy = p.choosy || mentionsResource(c.Body)
			p.looks = p.looks.Or(looksOf(c.Body))
		}
		policies[i] = p
	}
	e.objects, e.memo = newIndex(policies), newMemo()
	e.collections = sync.OnceValue(func() *index {
		var all policySet
		for _, p := range policies {
			var ok bool
			if p.policy, ok = forCollections(p.policy); ok {
				all = append(all, p)
			}
		}
		x := newIndex(all)
		return &x
	})
}

func noPolicies(dir string) error {
	return fmt.Errorf("policy: %s has no policy, and without one every request is denied: write a *%s file there", dir, policySuffix)
}

// readDir reads the files that count, sorted by name.
func readDir(dir string) ([]source, error) {
	paths, err := list(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("policy: there is no folder %s: make it and write a *%s file there", dir, policySuffix)
	}
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	var files []source
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("policy: %w", err)
		}
		files = append(files, newSource(path, string(text)))
	}
	return files, nil
}

// list returns the paths of the files in dir that count, sorted.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, d := range entries {
		name := d.Name()
		if !d.IsDir() && !strings.HasPrefix(name, ".") && (name == entitiesFile || strings.HasSuffix(name, policySuffix)) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths, nil
}

// hash covers the files' names and bytes, each with its length before it.
func hash(files []source) string {
	h := sha256.New()
	for _, f := range files {
		name := filepath.Base(f.path)
		_, _ = fmt.Fprintf(h, "%d:%s%d:%s", len(name), name, len(f.text), f.text)
	}
	return hex.EncodeToString(h.Sum(nil))
}

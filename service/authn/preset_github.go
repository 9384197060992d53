package authn

import (
	"errors"
	"regexp"
	"slices"
	"strings"
)

// gitHubIssuer signs the tokens of all workflows of github.com, whoever's they
// are.
const gitHubIssuer = "https://token.actions.githubusercontent.com"

// gitHubOwner is an account's name, of a user or an organization. That it is
// ASCII keeps its comparison without regard to case simple.
var gitHubOwner = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)

// readGitHub reads the tokens of workflows. Anybody can get one: only those of
// repositories of the configured owners are taken.
func readGitHub(c Issuer) reading {
	iss := c.Issuer
	if iss == "" {
		iss = gitHubIssuer
	}
	subject, _ := c.subjectOf() // checked
	return reading{
		origins: []origin{{iss, iss}},
		attributes: map[string][]claimPath{
			"repository":      {{"repository"}},
			"repositoryOwner": {{"repository_owner"}},
			"ref":             {{"ref"}},
			"environment":     {{"environment"}},
			// The file whose steps run, which may be another repository's.
			"workflow": {{"job_workflow_ref"}, {"workflow_ref"}},
			"event":    {{"event_name"}},
		},
		name: func(_ string, all claims) (string, []string, error) {
			owner, err := all.text("repository_owner")
			if err != nil {
				return "", nil, err
			}
			known := func(o string) bool { return strings.EqualFold(o, owner) }
			if !gitHubOwner.MatchString(owner) || !slices.ContainsFunc(c.Owners, known) {
				return "", nil, errors.New("authn: the repository's owner is none of the configured ones")
			}
			repository, err := all.text("repository")
			if err != nil {
				return "", nil, err
			}
			if of, name, ok := strings.Cut(repository, "/"); !ok || of != owner || name == "" {
				return "", nil, errors.New("authn: the repository is not its owner's")
			}
			s, err := subject.subject(all)
			return s, nil, err
		},
	}
}

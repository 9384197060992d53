package authn

import (
	"errors"
	"regexp"
	"slices"
	"strings"
)

// entraAuthority is the token service of the worldwide cloud.
const entraAuthority = "https://login.microsoftonline.com"

// entraSTS are the hosts in the iss of version 1 tokens, by authority. All
// other clouds have the worldwide one's.
var entraSTS = map[string]string{
	"https://login.chinacloudapi.cn":           "https://sts.chinacloudapi.cn",
	"https://login.partner.microsoftonline.cn": "https://sts.chinacloudapi.cn",
}

// entraTenant: a tenant's id, not its domain, is in its tokens.
var entraTenant = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// readEntra reads access tokens of one tenant, of both versions: which one a
// client gets is a setting of the application that they are for.
func readEntra(c Issuer) reading {
	authority, tenant := strings.TrimSuffix(c.Authority, "/"), c.TenantID
	if authority == "" {
		authority = entraAuthority
	}
	sts, ok := entraSTS[authority]
	if !ok {
		sts = "https://sts.windows.net"
	}
	one := origin{sts + "/" + tenant + "/", authority + "/" + tenant}
	two := origin{authority + "/" + tenant + "/v2.0", authority + "/" + tenant + "/v2.0"}
	client := map[string]string{one.iss: "appid", two.iss: "azp"}
	version := map[string]string{one.iss: "1.0", two.iss: "2.0"}
	return reading{
		origins: []origin{one, two},
		attributes: map[string][]claimPath{
			"tenantId": {{"tid"}},
			"appId":    {{"azp"}, {"appid"}},
		},
		name: func(iss string, all claims) (string, []string, error) {
			if all.at(claimPath{"tid"}) != tenant {
				return "", nil, errors.New("authn: the token is another tenant's")
			}
			if all.at(claimPath{"ver"}) != version[iss] {
				return "", nil, errors.New("authn: the token's version is not its issuer's")
			}
			// A token has one of the two. An ID token, which is for a client to
			// read, has neither.
			if all["azp"] != nil && all["appid"] != nil {
				return "", nil, errors.New("authn: the token names its client twice")
			}
			app, err := all.text(client[iss])
			if err != nil {
				return "", nil, err
			}
			groups, err := entraGroups(all)
			if err != nil {
				return "", nil, err
			}
			subject, err := entraSubject(all, app)
			return subject, groups, err
		},
	}
}

// entraSubject returns the client's id where the client speaks for itself. With
// a user behind it the client is no name: all its users would be one principal.
func entraSubject(all claims, app string) (string, error) {
	oid, err := all.text("oid")
	if err != nil {
		return "", err
	}
	sub, err := all.text("sub")
	if err != nil {
		return "", err
	}
	_, delegated := all["scp"]
	kind, ok := all["idtyp"] // only where the application asks for it
	if !delegated && oid == sub && (!ok || kind == "app") {
		return app, nil
	}
	return oid, nil
}

// entraGroups returns the groups and, behind roles/, the application's roles. A
// token that only says where its groups could be asked for is refused: a policy
// may forbid by group.
func entraGroups(all claims) ([]string, error) {
	for _, sign := range []string{"_claim_names", "_claim_sources", "hasgroups"} {
		if _, ok := all[sign]; ok {
			// Told to the caller, who can do something about it.
			return nil, refuse("the token leaves out its groups, because they are too many; assign groups or roles to the "+
				"application, so that its tokens have those alone", errors.New("authn: groups overage"))
		}
	}
	groups, err := all.list(claimPath{"groups"})
	if err != nil {
		return nil, err
	}
	roles, err := all.list(claimPath{"roles"})
	if err != nil {
		return nil, err
	}
	const behind = "roles/"
	// Where groups come by their names, whoever may make one could make a role.
	if slices.ContainsFunc(groups, func(g string) bool { return strings.HasPrefix(g, behind) }) {
		return nil, errors.New("authn: a group is named like a role")
	}
	for _, r := range roles {
		groups = append(groups, behind+r)
	}
	return groups, nil
}

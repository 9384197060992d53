package authn

import (
	"errors"
	"strings"
)

// readKubernetes reads the tokens of service accounts. What the claim
// kubernetes.io says must agree with sub: policies read the one or the other.
func readKubernetes(c Issuer) reading {
	const own = "kubernetes.io"
	return reading{
		origins: []origin{{c.Issuer, c.Issuer}},
		attributes: map[string][]claimPath{
			"namespace":      {{own, "namespace"}},
			"serviceAccount": {{own, "serviceaccount", "name"}},
			"pod":            {{own, "pod", "name"}},
		},
		name: func(_ string, all claims) (string, []string, error) {
			namespace, err := all.text(own, "namespace")
			if err != nil {
				return "", nil, err
			}
			account, err := all.text(own, "serviceaccount", "name")
			if err != nil {
				return "", nil, err
			}
			sub, err := all.text("sub")
			if err != nil {
				return "", nil, err
			}
			if sub != "system:serviceaccount:"+namespace+":"+account || strings.Contains(namespace+account, ":") {
				return "", nil, errors.New("authn: the sub claim is not that of the service account in kubernetes.io")
			}
			return sub, []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace}, nil
		},
	}
}

// Command check reads Kubernetes manifests as the API server would with strict
// field validation: unknown and doubled fields are errors, and so are values of
// the wrong type. It also holds them to what no schema says: selectors that match,
// volumes that are there, ports that have a name, and no object twice.
//
// The queries of a Grafana dashboard are read as Prometheus would.
//
//	check MANIFEST.yaml… DASHBOARD.json…
//
// It is a module of its own, so that Kubernetes' types and promtool, which its
// go.mod pins, are no dependencies of Keyward's.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	yamldocs "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

func main() {
	objects, panels, errs := 0, 0, []error(nil)
	set := &set{seen: map[string]bool{}}
	for _, file := range os.Args[1:] {
		var n int
		var err error
		if strings.HasSuffix(file, ".json") {
			n, err = checkDashboard(file)
			panels += n
		} else {
			n, err = set.file(file)
			objects += n
		}
		errs = append(errs, err)
	}
	errs = append(errs, set.together())
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if objects == 0 {
		fmt.Fprintln(os.Stderr, "check: no manifests; name their files")
		os.Exit(1)
	}
	fmt.Printf("kubernetes: %d objects, ok\ngrafana: %d panels, ok\n", objects, panels)
}

// set is all manifests.
type set struct {
	seen     map[string]bool // kind/namespace/name
	sets     []*appsv1.StatefulSet
	services []*corev1.Service
	budgets  []*policyv1.PodDisruptionBudget
	networks []*networkingv1.NetworkPolicy
}

func (s *set) file(name string) (objects int, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	var errs []error
	for docs := yamldocs.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return objects, errors.Join(errs...)
		}
		if err != nil {
			return objects, fmt.Errorf("%s: %w", name, err)
		}
		objects++
		if err := s.object(doc); err != nil {
			errs = append(errs, fmt.Errorf("%s: object %d: %w", name, objects, err))
		}
	}
}

func (s *set) object(doc []byte) error {
	var head struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
	}
	if err := yaml.Unmarshal(doc, &head); err != nil {
		return err
	}
	key := head.Kind + "/" + head.Namespace + "/" + head.Name
	if s.seen[key] {
		return fmt.Errorf("%s is there twice", key)
	}
	s.seen[key] = true
	if head.Name == "" || head.Kind != "Namespace" && head.Namespace != "keyward" {
		return fmt.Errorf("%s: want a name, and the namespace keyward", key)
	}
	var into any
	switch head.APIVersion + " " + head.Kind {
	case "v1 Namespace":
		into = &corev1.Namespace{}
	case "v1 ServiceAccount":
		into = &corev1.ServiceAccount{}
	case "v1 ConfigMap":
		into = &corev1.ConfigMap{}
	case "v1 Service":
		v := &corev1.Service{}
		s.services, into = append(s.services, v), v
	case "apps/v1 StatefulSet":
		v := &appsv1.StatefulSet{}
		s.sets, into = append(s.sets, v), v
	case "policy/v1 PodDisruptionBudget":
		v := &policyv1.PodDisruptionBudget{}
		s.budgets, into = append(s.budgets, v), v
	case "networking.k8s.io/v1 NetworkPolicy":
		v := &networkingv1.NetworkPolicy{}
		s.networks, into = append(s.networks, v), v
	default:
		return fmt.Errorf("%s of %s is not known here; add it to deploy/check", head.Kind, head.APIVersion)
	}
	if err := yaml.UnmarshalStrict(doc, into, yaml.DisallowUnknownFields); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

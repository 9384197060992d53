package main

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// together checks what holds between objects.
func (s *set) together() error {
	if len(s.sets) != 1 {
		return fmt.Errorf("%d stateful sets, want one", len(s.sets))
	}
	all := s.sets[0]
	pod := labels.Set(all.Spec.Template.Labels)
	ports := map[string]bool{}
	var errs []error
	for _, c := range all.Spec.Template.Spec.Containers {
		for _, p := range c.Ports {
			ports[p.Name] = true
		}
		errs = append(errs, s.volumes(c, all.Spec.Template.Spec.Volumes, all.Spec.VolumeClaimTemplates), probes(c), restricted(c))
	}
	chosen := func(what string, by *metav1.LabelSelector) {
		selector, err := metav1.LabelSelectorAsSelector(by)
		if err == nil && (selector.Empty() || !selector.Matches(pod)) {
			err = errors.New("the selector does not choose the stateful set's pods")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	chosen("StatefulSet", all.Spec.Selector)
	for _, t := range all.Spec.Template.Spec.TopologySpreadConstraints {
		chosen("topologySpreadConstraints of "+t.TopologyKey, t.LabelSelector)
	}
	for _, b := range s.budgets {
		chosen("PodDisruptionBudget", b.Spec.Selector)
	}
	named := func(what string, port intstr.IntOrString) {
		if !ports[port.StrVal] {
			errs = append(errs, fmt.Errorf("%s: no container has the port %q", what, port.String()))
		}
	}
	for _, n := range s.networks {
		chosen("NetworkPolicy", &n.Spec.PodSelector)
		for _, in := range n.Spec.Ingress {
			for _, p := range in.Ports {
				named("NetworkPolicy", *p.Port)
			}
		}
	}
	found := false
	for _, v := range s.services {
		chosen("Service "+v.Name, &metav1.LabelSelector{MatchLabels: v.Spec.Selector})
		for _, p := range v.Spec.Ports {
			named("Service "+v.Name, p.TargetPort)
		}
		found = found || v.Name == all.Spec.ServiceName && v.Spec.ClusterIP == corev1.ClusterIPNone
	}
	if !found {
		errs = append(errs, fmt.Errorf("StatefulSet: no headless service %q", all.Spec.ServiceName))
	}
	if !s.seen["ServiceAccount/keyward/"+all.Spec.Template.Spec.ServiceAccountName] {
		errs = append(errs, errors.New("StatefulSet: its service account is not there"))
	}
	return errors.Join(errs...)
}

func (s *set) volumes(c corev1.Container, volumes []corev1.Volume, claims []corev1.PersistentVolumeClaim) error {
	there := map[string]bool{}
	for _, v := range volumes {
		there[v.Name] = true
		if v.ConfigMap != nil && !s.seen["ConfigMap/keyward/"+v.ConfigMap.Name] {
			return fmt.Errorf("volume %s: there is no config map %s", v.Name, v.ConfigMap.Name)
		}
	}
	for _, v := range claims {
		there[v.Name] = true
	}
	for _, m := range c.VolumeMounts {
		if !there[m.Name] {
			return fmt.Errorf("container %s mounts %s, and there is no such volume", c.Name, m.Name)
		}
	}
	return nil
}

func probes(c corev1.Container) error {
	for name, want := range map[string]struct {
		path string
		p    *corev1.Probe
	}{"startup": {"/livez", c.StartupProbe}, "liveness": {"/livez", c.LivenessProbe}, "readiness": {"/readyz", c.ReadinessProbe}} {
		if want.p == nil || want.p.HTTPGet == nil || want.p.HTTPGet.Path != want.path || want.p.HTTPGet.Port.StrVal != "admin" {
			return fmt.Errorf("container %s: the %s probe is to get %s of the port admin", c.Name, name, want.path)
		}
	}
	return nil
}

// restricted is what the restricted profile asks of a container, and a root file
// system that cannot be written.
func restricted(c corev1.Container) error {
	x := c.SecurityContext
	if x == nil || x.AllowPrivilegeEscalation == nil || *x.AllowPrivilegeEscalation ||
		x.ReadOnlyRootFilesystem == nil || !*x.ReadOnlyRootFilesystem ||
		x.Capabilities == nil || len(x.Capabilities.Drop) != 1 || x.Capabilities.Drop[0] != "ALL" || len(x.Capabilities.Add) > 0 {
		return fmt.Errorf("container %s: want no privilege escalation, no capabilities, and a read-only root", c.Name)
	}
	return nil
}

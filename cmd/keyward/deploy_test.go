package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

const deployDir = "../../deploy/"

// manifest is as much of a Kubernetes object as the tests here look at.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Template struct {
			Spec struct {
				Grace      int `yaml:"terminationGracePeriodSeconds"`
				Containers []struct {
					Args []string
					// Ports by the names that probes and services know them by.
					Ports []struct {
						Name string
						Port int `yaml:"containerPort"`
					}
					Resources struct{ Limits struct{ Memory string } }
					Mounts    []struct {
						Name string
						Path string `yaml:"mountPath"`
					} `yaml:"volumeMounts"`
				}
			}
		}
	}
}

// manifests are those of deploy/kubernetes, by kind and name.
func manifests(t *testing.T) map[string]manifest {
	t.Helper()
	files, err := filepath.Glob(deployDir + "kubernetes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]manifest{}
	for _, file := range files {
		for text := range strings.SplitSeq(read(t, file), "\n---\n") {
			var m manifest
			if err := yaml.Unmarshal([]byte(text), &m); err != nil {
				t.Fatal(file, err)
			}
			all[m.Kind+"/"+m.Metadata.Name] = m
		}
	}
	return all
}

// What the config maps hold is what keyward serve --check accepts, at the paths
// where the pod has it, and without a warning.
func TestKubernetesConfiguration(t *testing.T) {
	all := manifests(t)
	pod := all["StatefulSet/keyward"].Spec.Template.Spec
	if len(pod.Containers) != 1 {
		t.Fatalf("%d containers", len(pod.Containers))
	}
	container := pod.Containers[0]
	dev, _ := serveDir(t, "127.0.0.1:0")

	// The pod's file system, below a folder of ours.
	root, text := t.TempDir(), all["ConfigMap/keyward"].Data["keyward.yaml"]
	for _, m := range container.Mounts {
		text = strings.ReplaceAll(text, m.Path+"/", root+m.Path+"/")
		text = regexp.MustCompile(regexp.QuoteMeta(m.Path)+`\b([^-/])`).ReplaceAllString(text, root+m.Path+"$1")
		if err := os.MkdirAll(root+m.Path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	config := container.Args[2]
	for file, content := range map[string]string{
		config:                         text,
		"/etc/keyward-tls/tls.crt":     read(t, dev+"/server.pem"),
		"/etc/keyward-tls/tls.key":     read(t, dev+"/server-key.pem"),
		"/etc/keyward-tls/ca.crt":      read(t, dev+"/ca.pem"),
		"/etc/keyward-tls/page-tokens": strings.Repeat("p", 32),
		"/var/run/secrets/azure/token": "token",
		"/etc/keyward-policy/a.cedar":  all["ConfigMap/keyward-policy"].Data["billing.cedar"],
	} {
		if err := os.WriteFile(root+file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := append([]string(nil), container.Args...)
	args[2] = root + config
	var stdout, stderr bytes.Buffer
	noEnv := func(string) string { return "" }
	if code := run(t.Context(), append(args, "--check"), noEnv, nil, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Fatalf("code %d\n%s%s", code, &stdout, &stderr)
	}
	if !strings.Contains(stdout.String(), "policies: 1, ok") {
		t.Errorf("said %s", &stdout)
	}

	c, _, err := loadConfig(root + config)
	if err != nil {
		t.Fatal(err)
	}
	outlasts(t, "terminationGracePeriodSeconds", time.Duration(pod.Grace)*time.Second, c)
	ports := map[string]string{"grpc": c.GRPC.Address, "https": c.HTTP.Address, "admin": c.Admin.Address}
	for _, p := range container.Ports {
		if want := fmt.Sprintf(":%d", p.Port); ports[p.Name] != want {
			t.Errorf("port %s is at %q, want %q", p.Name, ports[p.Name], want)
		}
		delete(ports, p.Name)
	}
	if len(ports) > 0 {
		t.Errorf("the container does not name the ports %v", ports)
	}
	if container.Resources.Limits.Memory == "" {
		t.Error("the container has no memory limit for Go's collector to keep to")
	}
}

// outlasts holds a time to stop in to what a drain and the last telemetry take.
func outlasts(t *testing.T, what string, have time.Duration, c *config) {
	t.Helper()
	if least := c.Drain.Notice.Duration + c.Drain.Timeout.Duration + flushTimeout + 2*time.Second; have < least {
		t.Errorf("%s is %s; a drain takes up to %s", what, have, least)
	}
}

// The unit and the configuration beside it go together.
func TestSystemdUnit(t *testing.T) {
	c, warnings, err := loadConfig(deployDir + "systemd/keyward.yaml")
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	unit := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^([A-Za-z]+)=(.*)$`).FindAllStringSubmatch(read(t, deployDir+"systemd/keyward.service"), -1) {
		unit[m[1]] = append(unit[m[1]], m[2])
	}
	for key, want := range map[string]string{
		"NoNewPrivileges": "yes", "ProtectSystem": "strict", "MemoryDenyWriteExecute": "yes", "LimitCORE": "0",
		"KillSignal": "SIGTERM", "StateDirectory": "keyward", "User": "keyward", "CapabilityBoundingSet": "",
	} {
		if got := unit[key]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	stop, err := time.ParseDuration(strings.Join(unit["TimeoutStopSec"], ","))
	if err != nil {
		t.Fatal(err)
	}
	outlasts(t, "TimeoutStopSec", stop, c)
	if !strings.HasPrefix(c.Audit.Path, "/var/lib/"+unit["StateDirectory"][0]+"/") {
		t.Errorf("the audit log %s is not in the state directory, and nothing else can be written", c.Audit.Path)
	}
	name, ok := strings.CutPrefix(c.PageTokens.KeyFile, "/run/credentials/keyward.service/")
	if !ok || !strings.HasPrefix(strings.Join(unit["LoadCredential"], "\n"), name+":") {
		t.Errorf("%s is none of the credentials %q", c.PageTokens.KeyFile, unit["LoadCredential"])
	}
}

var (
	declared = regexp.MustCompile(`(Int64|Float64)(Observable)?(UpDownCounter|Counter|Gauge|Histogram)\(\s*"(keyward\.[a-z.]+)",\s*(?:metric\.WithUnit\("(s|By)"\))?`)
	onPage   = regexp.MustCompile(`(?m)^((?:keyward|go|process)_[a-z_]+)`)
	used     = regexp.MustCompile(`\b(?:keyward|go|process)_[a-z_]+`)
)

// declaredMetrics are the names that Prometheus sees the instruments in our
// sources by.
func declaredMetrics(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, pattern := range []string{"*.go", "../../broker/*.go", "../../broker/*/*.go", "../../service/*.go", "../../service/*/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, m := range declared.FindAllStringSubmatch(read(t, file), -1) {
				name := strings.ReplaceAll(m[4], ".", "_")
				name += map[string]string{"s": "_seconds", "By": "_bytes"}[m[5]]
				switch m[3] {
				case "Counter":
					names[name+"_total"] = true
				case "Histogram":
					names[name+"_bucket"], names[name+"_sum"], names[name+"_count"] = true, true, true
				default:
					names[name] = true
				}
			}
		}
	}
	return names
}

// Every metric that an alert or a panel asks for is one that keyward has.
func TestDashboardsAndAlertsUseRealMetrics(t *testing.T) {
	p := startDev(t, t.TempDir())
	if err := set(t.Context(), p.secrets(), "a", "v"); err != nil {
		t.Fatal(err)
	}
	names := declaredMetrics(t)
	for _, m := range onPage.FindAllStringSubmatch(p.metrics(), -1) {
		// Where the page disagrees, what the sources were read as is wrong.
		if strings.HasPrefix(m[1], "keyward_") && !names[m[1]] {
			t.Errorf("%s is on the page, and no instrument that the test finds in the sources", m[1])
		}
		names[m[1]] = true
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	for _, file := range []string{"prometheus/rules.yaml", "prometheus/rules_test.yaml", "grafana/keyward.json"} {
		found := used.FindAllString(read(t, deployDir+file), -1)
		if len(found) < 10 {
			t.Errorf("%s: %d metrics found", file, len(found))
		}
		for _, name := range found {
			if !names[name] {
				t.Errorf("%s asks for %s, which is no metric", file, name)
			}
		}
	}
}

// /metrics says check by check what /readyz says.
func TestReadyIsAMetric(t *testing.T) {
	p := startDev(t, t.TempDir())
	for _, check := range []string{"serving", "audit", "policy"} {
		if got := metricSum(t, p.metrics(), "keyward_ready", `check="`+check+`"`); got != 1 {
			t.Errorf("%s is %d, want 1", check, got)
		}
	}
	if err := os.WriteFile(p.file("policy/broken.cedar"), []byte("permit ("), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the refused policy is told of", func() bool {
		return metricSum(t, p.metrics(), "keyward_ready", `check="policy"`) == 0
	})
	if got := metricSum(t, p.metrics(), "keyward_ready", `check="serving"`); got != 1 {
		t.Errorf("serving is %d, want 1", got)
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

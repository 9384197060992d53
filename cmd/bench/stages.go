package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// stack is where a profile found the program, the innermost function first, and
// for how long.
type stack struct {
	frames []string
	took   time.Duration
}

// readStacks has Go's own tool print a profile's stacks.
func readStacks(ctx context.Context, profile string) ([]stack, error) {
	text, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-traces", "-unit=ms", profile).Output() //nolint:gosec // a file of our own
	if err != nil {
		return nil, fmt.Errorf("go tool pprof: %w", err)
	}
	var stacks []stack
	var s stack
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "-----------+") {
			if s.took > 0 {
				stacks = append(stacks, s)
			}
			s = stack{}
			continue
		}
		// A stack's first line has the time before the function; labels have a colon.
		value, function, ok := strings.Cut(strings.TrimSpace(line), "  ")
		switch took, err := time.ParseDuration(value); {
		case ok && err == nil:
			s = stack{frames: []string{strings.TrimSpace(function)}, took: took}
		case s.took > 0 && strings.TrimSpace(line) != "":
			s.frames = append(s.frames, strings.TrimSpace(line))
		}
	}
	if s.took > 0 {
		stacks = append(stacks, s)
	}
	if len(stacks) == 0 {
		return nil, errors.New("no stacks in the profile")
	}
	return stacks, nil
}

// stage is a part of a call's way, known by its functions.
type stage struct {
	name      string
	functions *regexp.Regexp
	colour    string
}

// stages are asked in this order about each function, from the innermost outwards:
// what the first known one belongs to, the time belongs to.
var stages = []stage{
	{"growing goroutines' stacks", regexp.MustCompile(`^runtime\.(newstack|copystack|morestack)`), "#b5a08a"},
	{"garbage collector", regexp.MustCompile(`^runtime\.(gc[A-Z]|bgsweep|bgscavenge|mgc|scanobject|greyobject|markroot|\(\*gcWork\)|\(\*mspan\)\.sweep|\(\*sweepLocked\)|wbBufFlush)`), "#777777"},
	{"TLS", regexp.MustCompile(`^crypto/`), "#6d9dc5"},
	{"kernel: sockets and files", regexp.MustCompile(`^(internal/runtime/syscall|syscall|internal/poll)\.`), "#c4b7d9"},
	{"telemetry", regexp.MustCompile(`^(go\.opentelemetry\.io/|github\.com/prometheus/|github\.com/keyward/keyward/service\.(\(?\*?callMetrics|\(\*Server\)\.(startSpan|observe)))`), "#e8a33d"},
	{"authentication", regexp.MustCompile(`^github\.com/(keyward/keyward/service/authn|go-jose)|keyward/service\.\(\*Server\)\.(vet|authenticate)`), "#b06fb3"},
	{"audit", regexp.MustCompile(`^github\.com/keyward/keyward/broker(/audit|\.\(\*Broker\)\.record)`), "#d9694f"},
	{"decision", regexp.MustCompile(`^github\.com/(cedar-policy/|keyward/keyward/broker(/policy|\.\(\*Broker\)\.decide))`), "#4fa36c"},
	{"cache", regexp.MustCompile(`^github\.com/(maypok86/otter|keyward/keyward/broker\.\(\*(SecretCache|answers|generations))`), "#3d8f8a"},
	{"messages", regexp.MustCompile(`^(google\.golang\.org/protobuf|google\.golang\.org/grpc/encoding|github\.com/keyward/keyward/(gen|service\.(marshalled|append[A-Z]|valueProto|secretProto|timeProto)))`), "#c7b84a"},
	{"the rest of keyward", regexp.MustCompile(`^github\.com/keyward/`), "#e58fa5"},
	{"grpc-go and HTTP/2", regexp.MustCompile(`^(google\.golang\.org/grpc|golang\.org/x/net)`), "#8fb8de"},
}

// noStage is the runtime with nobody's work: scheduling, timers, the stacks of new
// goroutines.
var noStage = stage{name: "Go's scheduler and the rest", colour: "#dddddd"}

func stageOf(function string) stage {
	for _, s := range stages {
		if s.functions.MatchString(function) {
			return s
		}
	}
	return noStage
}

func (s stack) stage() string {
	for _, f := range s.frames {
		if st := stageOf(f); st.name != noStage.name {
			return st.name
		}
	}
	return noStage.name
}

// printStages prints what each stage has of the processor time, and of one call.
func printStages(w io.Writer, stacks []stack, done interval) {
	times := make(map[string]time.Duration)
	var all time.Duration
	for _, s := range stacks {
		times[s.stage()] += s.took
		all += s.took
	}
	fmt.Fprintf(w, "%.1f µs of CPU per call, %d samples.\n\n| stage | share of CPU | per call |\n|---|---|---|\n", done.perCall(), len(stacks))
	names := []string{noStage.name}
	for _, s := range stages {
		names = append(names, s.name)
	}
	slices.SortStableFunc(names, func(a, b string) int { return int(times[b] - times[a]) })
	for _, n := range names {
		share := float64(times[n]) / float64(all)
		fmt.Fprintf(w, "| %s | %.1f %% | %.1f µs |\n", n, 100*share, share*done.perCall())
	}
}

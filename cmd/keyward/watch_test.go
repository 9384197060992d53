package main

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// act is what a broker does with one watch.
type act struct {
	silent bool // it does not even begin
	events []*keywardv1.SecretEvent
	end    error
}

// newWatched returns a broker that plays an act for each watch, and keeps what
// each said to know, as name=version.
func newWatched(acts ...act) (b *fakeBroker, known *knownVersions) {
	known = &knownVersions{}
	return &fakeBroker{watch: func(r *keywardv1.WatchSecretsRequest, stream grpc.ServerStreamingServer[keywardv1.SecretEvent]) error {
		var targets []string
		for _, t := range r.GetTargets() {
			targets = append(targets, strings.TrimPrefix(t.GetName(), "vaults/dev/secrets/")+"="+t.GetKnownVersion())
		}
		known.add(strings.Join(targets, " "))
		if len(acts) == 0 {
			return status.Error(codes.Internal, "the play is over")
		}
		now := acts[0]
		acts = acts[1:]
		if now.silent {
			<-stream.Context().Done()
			return stream.Context().Err()
		}
		if len(now.events) > 0 || now.end == nil || status.Code(now.end) == codes.Unavailable {
			if err := stream.SendHeader(metadata.MD{}); err != nil {
				return err
			}
		}
		for _, e := range now.events {
			if err := stream.Send(e); err != nil {
				return err
			}
		}
		return now.end
	}}, known
}

// knownVersions may still be added to when the client has gone.
type knownVersions struct {
	mu  sync.Mutex
	all []string
}

func (k *knownVersions) add(one string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, one)
}

func (k *knownVersions) get() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.all)
}

// statusOf is an error of the broker's.
func statusOf(t *testing.T, code codes.Code, reason broker.Code) error {
	t.Helper()
	s, err := status.New(code, "told").WithDetails(&errdetails.ErrorInfo{Domain: "keyward", Reason: string(reason)})
	if err != nil {
		t.Fatal(err)
	}
	return s.Err()
}

func changed(name, version string) *keywardv1.SecretEvent {
	return &keywardv1.SecretEvent{Name: "vaults/dev/secrets/" + name, Version: version, Type: keywardv1.SecretEvent_TYPE_CHANGED}
}

func became(name string, what keywardv1.SecretEvent_Type) *keywardv1.SecretEvent {
	return &keywardv1.SecretEvent{Name: "vaults/dev/secrets/" + name, Type: what}
}

func TestWatchGoesOnWhereItWas(t *testing.T) {
	const v1, v2 = testVersion, testVersion2
	expired := statusOf(t, codes.Unavailable, broker.CodeStreamExpired)
	denied := statusOf(t, codes.PermissionDenied, broker.CodePolicyDenied)
	off := became("a", keywardv1.SecretEvent_TYPE_DISABLED)
	gone := became("b", keywardv1.SecretEvent_TYPE_DELETED)

	tests := []struct {
		name   string
		acts   []act
		known  []string
		want   string // standard output, without vaults/dev/secrets/
		stderr []string
		lacks  string
	}{
		{
			name: "the versions it was told", acts: []act{
				{events: []*keywardv1.SecretEvent{changed("a", v1), changed("b", v1), changed("a", v2)}, end: expired},
				{events: []*keywardv1.SecretEvent{changed("b", v2)}, end: expired},
				{end: denied},
			},
			known: []string{"a= b=", "a=" + v2 + " b=" + v1, "a=" + v2 + " b=" + v2},
			want:  "a changed " + v1 + "\nb changed " + v1 + "\na changed " + v2 + "\nb changed " + v2 + "\n",
			lacks: "again",
		},
		{
			name: "what is disabled may be enabled or deleted, and is told once", acts: []act{
				{events: []*keywardv1.SecretEvent{changed("a", v1), off}, end: expired},
				{events: []*keywardv1.SecretEvent{off}, end: expired},
				{events: []*keywardv1.SecretEvent{changed("a", v1)}, end: denied},
			},
			known: []string{"a= b=", "a=" + noVersion + " b=", "a=" + noVersion + " b="},
			want:  "a changed " + v1 + "\na disabled\na changed " + v1 + "\n",
			lacks: "again",
		},
		{
			name: "what is deleted is not there", acts: []act{
				{events: []*keywardv1.SecretEvent{changed("b", v1), gone}, end: expired},
				{end: denied},
			},
			known: []string{"a= b=", "a= b="},
			want:  "b changed " + v1 + "\nb deleted\n",
			lacks: "again",
		},
		{
			name: "trouble is told", acts: []act{
				{events: []*keywardv1.SecretEvent{changed("a", v1)}, end: statusOf(t, codes.ResourceExhausted, broker.CodeReaderTooSlow)},
				{end: statusOf(t, codes.Unauthenticated, broker.CodeBadCredentials)},
			},
			known:  []string{"a= b=", "a=" + v1 + " b="},
			want:   "a changed " + v1 + "\n",
			stderr: []string{"told (READER_TOO_SLOW)", "nothing is missed; trying again", "BAD_CREDENTIALS"},
		},
		{
			name: "credentials that were good are looked for again", acts: []act{
				{events: []*keywardv1.SecretEvent{changed("a", v1)}, end: statusOf(t, codes.Unauthenticated, broker.CodeBadCredentials)},
				{events: []*keywardv1.SecretEvent{changed("a", v2)}, end: denied},
			},
			known:  []string{"a= b=", "a=" + v1 + " b="},
			want:   "a changed " + v1 + "\na changed " + v2 + "\n",
			stderr: []string{"BAD_CREDENTIALS", "it works again"},
		},
		{
			name: "a drain before it has begun", acts: []act{{end: expired}, {end: denied}},
			known: []string{"a= b=", "a= b="},
		},
		{
			name: "a broker that makes things up", acts: []act{{events: []*keywardv1.SecretEvent{changed("c", v1)}, end: denied}, {end: denied}},
			known: []string{"a= b=", "a= b="}, stderr: []string{"another secret"},
		},
		{
			name: "a broker that ends it without a word", acts: []act{{}, {end: denied}},
			known: []string{"a= b=", "a= b="}, stderr: []string{"without a word"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, known := newWatched(tt.acts...)
			stdout, stderr, code := keyward(t, b.serve(t), "", "watch", "b", "A", "vaults/dev/secrets/b")
			if code != exitError || strings.ReplaceAll(stdout, "vaults/dev/secrets/", "") != tt.want {
				t.Errorf("exit %d, got %q, want %q: %s", code, stdout, tt.want, stderr)
			}
			if !slices.Equal(known.get(), tt.known) {
				t.Errorf("it said to know %q, want %q", known.get(), tt.known)
			}
			for _, want := range tt.stderr {
				if !strings.Contains(stderr, want) {
					t.Errorf("standard error lacks %q: %s", want, stderr)
				}
			}
			if tt.lacks != "" && strings.Contains(stderr, tt.lacks) {
				t.Errorf("standard error has %q: %s", tt.lacks, stderr)
			}
		})
	}
}

// What fails before the first stream has begun is told at once.
func TestWatchDoesNotBegin(t *testing.T) {
	tests := []struct {
		name, args string
		act        act
		want       []string
	}{
		{name: "denied", act: act{end: statusOf(t, codes.PermissionDenied, broker.CodePolicyDenied)}, want: []string{"told (POLICY_DENIED)\n  the broker's audit log has this request as "}},
		{name: "an outage", act: act{end: statusOf(t, codes.Internal, broker.CodeInternal)}, want: []string{"(INTERNAL)"}},
		{name: "a bad name", args: "a_b", want: []string{"BAD_NAME"}},
		{name: "no answer", args: "--timeout 50ms", act: act{silent: true}, want: []string{"no answer from the broker", "within 50ms"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, known := newWatched(tt.act)
			stdout, stderr, code := keyward(t, b.serve(t), "", append([]string{"watch", "a"}, strings.Fields(tt.args)...)...)
			if code != exitError || stdout != "" || len(known.get()) > 1 {
				t.Errorf("exit %d, %q after %d attempts", code, stdout, len(known.get()))
			}
			for _, want := range tt.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q lacks %q", stderr, want)
				}
			}
		})
	}
}

func TestWatchAsJSON(t *testing.T) {
	b, _ := newWatched(act{
		events: []*keywardv1.SecretEvent{changed("a", testVersion), became("a", keywardv1.SecretEvent_TYPE_DELETED)},
		end:    statusOf(t, codes.PermissionDenied, broker.CodePolicyDenied),
	})
	stdout, _, _ := keyward(t, b.serve(t), "", "watch", "a", "-o", "json")
	if want := `{"name":"vaults/dev/secrets/a","version":"` + testVersion + `","type":"TYPE_CHANGED"}
{"name":"vaults/dev/secrets/a","version":"","type":"TYPE_DELETED"}
`; stdout != want {
		t.Errorf("got %s", stdout)
	}
}

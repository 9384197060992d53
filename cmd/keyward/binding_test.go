package main

import (
	"slices"
	"strings"
	"testing"
)

func TestReadBindings(t *testing.T) {
	tests := []struct {
		name, text string
		want       []binding
		wantErr    string
	}{
		{name: "nothing", text: "\n # none\n\n"},
		{
			name: "as it is meant", text: "# what app needs\nPGPASSWORD=db-password\n\n STRIPE_KEY = vaults/pay/secrets/stripe-key \r\n",
			want: []binding{{"PGPASSWORD", "db-password"}, {"STRIPE_KEY", "vaults/pay/secrets/stripe-key"}},
		},
		{name: "no =", text: "A=a\nPGPASSWORD", wantErr: "line 2"},
		{name: "no secret", text: "A=", wantErr: "want VARIABLE=SECRET"},
		{name: "no variable", text: "=a", wantErr: "a variable's name"},
		{name: "a shell's export", text: "export A=a", wantErr: "a variable's name"},
		{name: "a digit first", text: "1A=a", wantErr: "a variable's name"},
		{name: "an endless line", text: strings.Repeat("x", 1<<17), wantErr: "too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readBindings(strings.NewReader(tt.text))
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("got %v, %v; want an error with %q", got, err, tt.wantErr)
				}
				return
			}
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("got %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

func TestBindingOf(t *testing.T) {
	tests := []struct {
		secret, want string // "": refused
	}{
		{secret: "db-password", want: "DB_PASSWORD"},
		{secret: "DB-Password", want: "DB_PASSWORD"},
		{secret: "vaults/pay/secrets/stripe-key", want: "STRIPE_KEY"},
		{secret: "vaults/pay/secrets/stripe-key/versions/" + testVersion, want: "STRIPE_KEY"},
		{secret: "1st"},
		{secret: "a b"},
		{secret: ""},
	}
	for _, tt := range tests {
		t.Run(tt.secret, func(t *testing.T) {
			got, err := bindingOf(tt.secret)
			if (err != nil) != (tt.want == "") || got.variable != tt.want || err == nil && got.secret != tt.secret {
				t.Errorf("got %v, %v; want %s", got, err, tt.want)
			}
		})
	}
}

// What is read, written as lines and read again is the same.
func FuzzReadBindings(f *testing.F) {
	for _, seed := range []string{"A=b", "# x\n\nA=b\nC = d = e\n", "A", "=", "A==", "\x00=\xff", "_1=\u2028x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, err := readBindings(strings.NewReader(text))
		if err != nil {
			return
		}
		var again strings.Builder
		for _, b := range first {
			if !validVariable(b.variable) || b.secret == "" {
				t.Fatalf("accepted %q", b)
			}
			again.WriteString(b.variable + "=" + b.secret + "\n")
		}
		second, err := readBindings(strings.NewReader(again.String()))
		if err != nil || !slices.Equal(first, second) {
			t.Errorf("%q became %q, %v", first, second, err)
		}
	})
}

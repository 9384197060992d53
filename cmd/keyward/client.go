package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// maxReply bounds a reply, in bytes: a batch of a hundred of the largest secrets
// is more than gRPC's own 4 MiB.
const maxReply = 16 << 20

// A connection on which a call waits is asked for a sign of life that often: a
// stream would wait for ever on one whose other end is gone. The broker cuts off
// who asks more often than every 30 seconds.
const clientPing, clientPingTimeout = 45 * time.Second, 10 * time.Second

// outputJSON is the form of output for programs.
const outputJSON = "json"

// exitCodes ends the help of each client command.
const exitCodes = `

Exit codes: 0 done, 1 refused or failed, 2 wrong usage.`

// clientFlags are the flags of the client commands that print what they are
// told.
type clientFlags struct {
	callFlags

	Output string `group:"Client" short:"o" enum:"table,json" default:"table" placeholder:"FORM" help:"table, for people, or json, for programs (${default})."`
}

// callFlags are the flags of every client command.
type callFlags struct {
	Context   string        `group:"Client" placeholder:"FILE" help:"The context file: where the broker is and who you are. Default: $$KEYWARD_CONTEXT, or .keyward/context.json, which keyward dev writes."`
	TokenFile string        `group:"Client" placeholder:"FILE" help:"A file with a bearer token to call with, instead of the context's."`
	Vault     string        `group:"Client" placeholder:"ALIAS" help:"The vault, instead of the context's."`
	Timeout   time.Duration `group:"Client" default:"10s" help:"How long to wait for each reply (${default})."`
	Reason    string        `group:"Client" placeholder:"TEXT" help:"Why you call, up to 500 characters. It is recorded; in an emergency, a break-glass policy asks for it."`
}

// client is a connection to a broker.
type client struct {
	secrets      keywardv1.SecretServiceClient
	keys         keywardv1.KeyServiceClient
	certificates keywardv1.CertificateServiceClient
	access       keywardv1.AccessServiceClient
	conn         *grpc.ClientConn
	vault        string // of short names; may be empty
	// chosen: vault was named by --vault, and a full name must not contradict it.
	chosen bool
}

// dial reads the context and prepares a connection, which is made by the first
// call. Each call has the deadline of --timeout, and an error that tells what to
// do next.
func (f callFlags) dial(a *app) (*client, error) {
	if f.Timeout <= 0 {
		return nil, errors.New("--timeout: want more than 0s")
	}
	file := cmp.Or(f.Context, a.env("KEYWARD_CONTEXT"), defaultContext)
	conf, err := readContext(file)
	if err != nil {
		return nil, err
	}
	conf.TokenFile = cmp.Or(f.TokenFile, conf.TokenFile)
	tlsConf, err := conf.tls()
	if err != nil {
		return nil, err
	}
	token, err := conf.token()
	if err != nil {
		return nil, err
	}
	e := explainer{context: file, address: conf.GRPC, timeout: f.Timeout}
	version, _ := buildVersion()
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(tlsConf)),
		grpc.WithUserAgent("keyward/" + version),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReply)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: clientPing, Timeout: clientPingTimeout}),
		grpc.WithUnaryInterceptor(explained(e)),
		grpc.WithStreamInterceptor(explainedStream(e)),
	}
	if token.Len() > 0 {
		options = append(options, grpc.WithPerRPCCredentials(bearer{token}))
	}
	if f.Reason != "" {
		options = append(options, grpc.WithPerRPCCredentials(reasoned(f.Reason)))
	}
	conn, err := grpc.NewClient(conf.GRPC, options...)
	if err != nil {
		return nil, fmt.Errorf(`%s: "grpc": %w`, file, err)
	}
	return &client{
		secrets:      keywardv1.NewSecretServiceClient(conn),
		keys:         keywardv1.NewKeyServiceClient(conn),
		certificates: keywardv1.NewCertificateServiceClient(conn),
		access:       keywardv1.NewAccessServiceClient(conn),
		conn:         conn,
		vault:        cmp.Or(f.Vault, conf.Vault),
		chosen:       f.Vault != "",
	}, nil
}

func (c *client) close() { _ = c.conn.Close() }

// explained gives each call its deadline and a request id, by which its audit
// record can be found, and explains its error.
func explained(e explainer) grpc.UnaryClientInterceptor {
	return func(
		ctx context.Context, method string, req, reply any,
		conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
	) error {
		ctx, cancel := context.WithTimeout(ctx, e.timeout)
		defer cancel()
		id := rand.Text()
		ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", id)
		return e.explain(invoke(ctx, method, req, reply, conn, opts...), id)
	}
}

// bearer sends a token with each call, over TLS only.
type bearer struct{ token broker.Value }

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token.Reveal()}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }

// reasoned says with each call why it is made. Metadata is ASCII: the rest is
// percent-encoded.
type reasoned string

func (r reasoned) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"x-keyward-reason": url.PathEscape(string(r))}, nil
}

func (reasoned) RequireTransportSecurity() bool { return true }

// vaultName returns the vault's resource name.
func (c *client) vaultName() (string, error) {
	if c.vault == "" {
		return "", advise("which vault?", "name one with --vault ALIAS")
	}
	n, err := broker.VaultName(c.vault)
	if err != nil {
		return "", badName(c.vault, err)
	}
	return n.String(), nil
}

// secretName is objectName of secrets.
func (c *client) secretName(name, version string) (string, error) {
	return c.objectName(broker.KindSecrets, name, version)
}

// keyName is objectName of keys.
func (c *client) keyName(name, version string) (string, error) {
	return c.objectName(broker.KindKeys, name, version)
}

// certificateName is objectName of certificates.
func (c *client) certificateName(name, version string) (string, error) {
	return c.objectName(broker.KindCertificates, name, version)
}

// objectName returns the resource name that a command's NAME stands for: an
// object of the client's vault, or a full name with or without a version. A
// vault or version given apart must not contradict it.
func (c *client) objectName(kind broker.Kind, name, version string) (string, error) {
	var n broker.Name
	var err error
	switch {
	case strings.Contains(name, "/"):
		n, err = broker.ParseName(kind, name)
	case c.vault == "":
		return "", advise(fmt.Sprintf("which vault is %q in?", name),
			"name it with --vault ALIAS, or in full: vaults/ALIAS/"+string(kind)+"/"+name)
	default:
		if n, err = broker.VaultName(c.vault); err != nil {
			return "", badName(c.vault, err)
		}
		n, err = n.Object(kind, name)
	}
	if err != nil {
		return "", badName(name, err)
	}
	if c.chosen && n.VaultAlias() != c.vault {
		return "", errors.New("--vault: the name already has another vault")
	}
	if version == "" {
		return n.String(), nil
	}
	if n.Version() != "" && n.Version() != version {
		return "", errors.New("--version: the name already has another version")
	}
	if n, err = n.WithVersion(version); err != nil {
		return "", badName(version, err)
	}
	return n.String(), nil
}

func badName(name string, err error) error {
	e := broker.AsError(err)
	return fmt.Errorf("%q: %s (%s)", name, e.Message, e.Code)
}

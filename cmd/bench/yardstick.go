package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// yardsticks are the servers that this program can be. Each prints where it
// serves, and ends with its standard input.
var yardsticks = map[string]func(args []string, in io.Reader, out io.Writer) error{
	"bare-grpc": bareGRPC,
	"bare-http": bareHTTP,
	"collector": collector,
}

// yardstickReady is what a yardstick prints.
var yardstickReady = regexp.MustCompile(`ready (\S+)\n`)

// Files of the rig's folder that hold what keyward answered.
const (
	answerProto = "answer.pb"
	answerJSON  = "answer.json"
)

const bareContentType = "application/json"

// bareGRPC answers GetSecret with what keyward answered, and does nothing else:
// no interceptor, no identity, no telemetry.
func bareGRPC(args []string, in io.Reader, out io.Writer) error {
	f := flag.NewFlagSet("bare-grpc", flag.ContinueOnError)
	dir := f.String("dir", "", "the rig's `folder`")
	tuned := f.Bool("tuned", false, "with keyward's own settings of grpc-go")
	if err := f.Parse(args); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(*dir, answerProto))
	if err != nil {
		return err
	}
	reply := &keywardv1.GetSecretResponse{}
	if err := proto.Unmarshal(text, reply); err != nil {
		return err
	}
	conf, err := serverTLS(*dir)
	if err != nil {
		return err
	}
	options := []grpc.ServerOption{grpc.Creds(credentials.NewTLS(conf))}
	if *tuned {
		options = append(options, tunedOptions()...)
	}
	s := grpc.NewServer(options...)
	keywardv1.RegisterSecretServiceServer(s, &bareSecrets{reply: reply})
	return serveUntil(in, out, s.Serve, s.Stop)
}

type bareSecrets struct {
	keywardv1.UnimplementedSecretServiceServer

	reply *keywardv1.GetSecretResponse
}

func (s *bareSecrets) GetSecret(context.Context, *keywardv1.GetSecretRequest) (*keywardv1.GetSecretResponse, error) {
	return s.reply, nil
}

// bareHTTP answers every path with the JSON that keyward answered.
func bareHTTP(args []string, in io.Reader, out io.Writer) error {
	f := flag.NewFlagSet("bare-http", flag.ContinueOnError)
	dir := f.String("dir", "", "the rig's `folder`")
	if err := f.Parse(args); err != nil {
		return err
	}
	body, err := os.ReadFile(filepath.Join(*dir, answerJSON))
	if err != nil {
		return err
	}
	conf, err := serverTLS(*dir)
	if err != nil {
		return err
	}
	s := &http.Server{
		TLSConfig:         conf,
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", bareContentType)
			_, _ = w.Write(body)
		}),
	}
	return serveUntil(in, out, func(ln net.Listener) error { return s.ServeTLS(ln, "", "") }, func() { _ = s.Close() })
}

// collector takes OTLP over HTTP, and throws it away.
func collector(_ []string, in io.Reader, out io.Writer) error {
	s := &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
		}),
	}
	return serveUntil(in, out, s.Serve, func() { _ = s.Close() })
}

// serveUntil serves on a free port of loopback until in ends.
func serveUntil(in io.Reader, out io.Writer, serve func(net.Listener) error, stop func()) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- serve(ln) }()
	fmt.Fprintf(out, "ready %s\n", ln.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, in)
		stop()
	}()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// serverTLS is TLS 1.3 as keyward has it: a client certificate is verified where
// one is given, and there are no session tickets.
func serverTLS(dir string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server-key.pem"))
	if err != nil {
		return nil, err
	}
	roots, err := authority(dir)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates:           []tls.Certificate{cert},
		ClientCAs:              roots,
		ClientAuth:             tls.VerifyClientCertIfGiven,
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
	}, nil
}

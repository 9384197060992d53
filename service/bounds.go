package service

import (
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// maxMessage is what is read off the wire at all, in bytes. A backup as JSON
// grows by a third.
const maxMessage = 2 << 20

// bound is how large a request may be, and what a larger one is told.
type bound struct {
	// message and body are bytes, of protobuf and of JSON.
	message, body int
	err           broker.Error
}

// plainBound is that of most methods. Their texts may grow sixfold in JSON
// escapes.
var plainBound = bound{
	message: 64 << 10, body: 256 << 10,
	err: broker.Error{Code: broker.CodeBadField, Message: "the request is larger than 64 KiB, or 256 KiB of JSON"},
}

// blobBound is that of what takes a backup.
var blobBound = bound{
	message: maxMessage, body: maxMessage,
	err: broker.Error{Code: broker.CodeValueTooLarge, Field: "blob", Message: "a request is at most 2 MiB, and a blob in it 1 MiB"},
}

// bounds are those of the methods that take a value, a key, certificates or a blob. A legal value
// may grow sixfold as well, and both transports take the same.
var bounds = map[string]bound{
	keywardv1.SecretService_SetSecret_FullMethodName: {
		message: 256 << 10, body: 256 << 10,
		err: broker.Error{Code: broker.CodeValueTooLarge, Field: "value", Message: "a request is at most 256 KiB, and a value in it 25600 bytes"},
	},
	keywardv1.SecretService_RestoreSecret_FullMethodName:           blobBound,
	keywardv1.KeyService_RestoreKey_FullMethodName:                 blobBound,
	keywardv1.CertificateService_RestoreCertificate_FullMethodName: blobBound,
	keywardv1.CertificateService_ImportCertificate_FullMethodName: {
		message: 256 << 10, body: maxMessage,
		err: broker.Error{Code: broker.CodeValueTooLarge, Message: "a request is at most 256 KiB, and a certificate with its chain and key in it 64 KiB"},
	},
	keywardv1.CertificateService_MergeCertificate_FullMethodName: {
		message: 128 << 10, body: 256 << 10,
		err: broker.Error{Code: broker.CodeValueTooLarge, Field: "x509_certificates", Message: "a request is at most 128 KiB, and the certificates in it 64 KiB together"},
	},
	keywardv1.KeyService_ImportKey_FullMethodName: {
		message: 64 << 10, body: 256 << 10,
		err: broker.Error{Code: broker.CodeValueTooLarge, Field: "jwk", Message: "a request is at most 64 KiB, and a key in it 16 KiB"},
	},
}

func boundOf(fullMethod string) bound {
	if b, ok := bounds[fullMethod]; ok {
		return b
	}
	return plainBound
}

// exceeded returns the error for a request that is larger.
func (b bound) exceeded() error {
	err := b.err
	return &err
}

// check returns an error if req is larger than its method can need. It comes behind
// authentication, so that a stranger's request is not weighed.
func (b bound) check(req any) error {
	if m, ok := req.(proto.Message); ok && proto.Size(m) > b.message {
		return b.exceeded()
	}
	return nil
}

// boundedStream bounds the one request of a stream.
type boundedStream struct {
	grpc.ServerStream

	bound bound
}

func (s boundedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.bound.check(m)
}

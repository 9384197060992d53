package main

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// Named as in package service, and of the same values.
const (
	maxMessage      = 2 << 20
	maxHeader       = 32 << 10
	connectionAge   = 10 * time.Minute
	connectionGrace = 30 * time.Second
	streamWorkers   = 32
)

// tunedOptions are the settings of keyward's gRPC server, as service/server.go
// has them: a yardstick is tuned alike, so that the ratio is about keyward's own
// work. TestTunedAlike compares the two, word for word.
func tunedOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxConcurrentStreams(100),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxHeaderListSize(maxHeader),
		grpc.ReadBufferSize(4 << 10),
		grpc.ConnectionTimeout(5 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle:     5 * time.Minute,
			MaxConnectionAge:      connectionAge,
			MaxConnectionAgeGrace: connectionGrace,
			Time:                  time.Minute,
			Timeout:               10 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 30 * time.Second}),

		grpc.WaitForHandlers(true),
	}
}

package main

import (
	"io"
	"log/slog"
)

// logFlags say what a server logs, to standard error.
type logFlags struct {
	LogLevel  slog.Level `default:"info" env:"KEYWARD_LOG_LEVEL" placeholder:"LEVEL" help:"debug, info, warn or error (${default})."`
	LogFormat string     `enum:"text,json" default:"text" env:"KEYWARD_LOG_FORMAT" placeholder:"FORM" help:"text or json (${default})."`
}

func (f logFlags) logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: f.LogLevel}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

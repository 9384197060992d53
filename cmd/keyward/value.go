package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/keyward/keyward/broker"
)

// readValue returns the value to set: the whole of file if one is named, else
// what comes in on standard input, or from a hidden prompt if that is a
// terminal. One newline at the end of standard input is dropped unless
// keepNewline.
func readValue(a *app, file string, keepNewline bool) (broker.Value, error) {
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return broker.Value{}, fmt.Errorf("the value: %w", err)
		}
		defer f.Close()
		text, err := readText(f)
		if err != nil {
			return broker.Value{}, fmt.Errorf("the value: %w", err)
		}
		return checkValue(text)
	}
	if fd, ok := terminal(a.in); ok {
		text, err := prompt(a, fd)
		if err != nil {
			return broker.Value{}, fmt.Errorf("the value: %w", err)
		}
		return checkValue(text)
	}
	text, err := readText(a.in)
	if err != nil {
		return broker.Value{}, fmt.Errorf("the value from standard input: %w", err)
	}
	if !keepNewline {
		if cut, ok := strings.CutSuffix(text, "\n"); ok {
			text = strings.TrimSuffix(cut, "\r")
		}
	}
	return checkValue(text)
}

// readText reads no more than it takes to know that a value is too large.
func readText(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, broker.MaxValueLen+int64(len("\r\n"))+1))
	return string(b), err
}

// prompt asks twice, because nobody sees what is typed.
func prompt(a *app, fd int) (string, error) {
	ask := func(question string) (string, error) {
		fmt.Fprint(a.err, question)
		b, err := term.ReadPassword(fd)
		fmt.Fprintln(a.err)
		return string(b), err
	}
	first, err := ask("Value (not shown): ")
	if err != nil {
		return "", err
	}
	second, err := ask("Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two differ; nothing was set")
	}
	return first, nil
}

func checkValue(text string) (broker.Value, error) {
	switch {
	case text == "":
		return broker.Value{}, advise("the value is empty; nothing was set",
			"pipe it in, or name a file with --value-file")
	case len(text) > broker.MaxValueLen:
		return broker.Value{}, advise(fmt.Sprintf("the value is larger than %d bytes, a vault's limit (%s)", broker.MaxValueLen, broker.CodeValueTooLarge),
			"keep the data elsewhere, and here the key that it is encrypted with")
	case !utf8.ValidString(text):
		return broker.Value{}, advise("the value is no UTF-8 text; nothing was set",
			"encode it: base64 FILE | keyward set NAME --content-type 'application/octet-stream; base64'")
	}
	return broker.NewValue(text), nil
}

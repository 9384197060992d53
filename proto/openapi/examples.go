package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// example is a request that works, and the reply to it. What another reply must
// provide first, such as a version, comes by a link from that one.
type example struct {
	// Parameters replace those that routes.go has for a path, and give those of
	// the query and of headers.
	Parameters map[string]string `json:"parameters"`
	Body       json.RawMessage   `json:"body"`
	Reply      json.RawMessage   `json:"reply"`
	Links      json.RawMessage   `json:"links"`
}

// of returns the example for a query parameter as JSON has it.
func (e example) of(f *protogen.Field) json.RawMessage {
	text, ok := e.Parameters[f.Desc.JSONName()]
	if ok && f.Desc.Kind() != protoreflect.Int32Kind {
		text = strconv.Quote(text)
	}
	return json.RawMessage(text)
}

//go:embed examples.json
var examplesJSON []byte

// readExamples returns the examples by operation.
func readExamples() (map[string]example, error) {
	var all map[string]example
	if err := json.Unmarshal(examplesJSON, &all); err != nil {
		return nil, fmt.Errorf("examples.json: %w", err)
	}
	return all, nil
}

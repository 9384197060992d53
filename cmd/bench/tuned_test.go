package main

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ownWork are options that are what keyward does, and no setting of grpc-go: a
// yardstick goes without them.
var ownWork = []string{"Creds", "StatsHandler", "UnaryInterceptor", "StreamInterceptor", "RPCDecompressor"}

// TestTunedAlike compares the options of the tuned yardstick with those of
// keyward, word for word, and the constants that they name.
func TestTunedAlike(t *testing.T) {
	want, got := grpcOptions(t, "../../service", "newGRPC"), grpcOptions(t, ".", "tunedOptions")
	for _, name := range ownWork {
		delete(want, name)
	}
	if len(want) == 0 {
		t.Fatal("no options found in service.newGRPC; where are they now?")
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("the server has %s, the yardstick %q; carry it over to tuned.go, or name it in ownWork", want[name], got[name])
		}
		delete(got, name)
	}
	for _, text := range got {
		t.Errorf("the yardstick has %s, and the server has not", text)
	}
}

// grpcOptions returns the text of each grpc.Name(…) within a function, by Name,
// with the values of this package's constants in the place of their names.
func grpcOptions(t *testing.T, dir, function string) map[string]string {
	t.Helper()
	fset := token.NewFileSet()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	text := func(n ast.Node) string {
		var b bytes.Buffer
		if err := format.Node(&b, token.NewFileSet(), n); err != nil { // a set without lines: all on one
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(b.String()), " ")
	}
	constants := make(map[string]ast.Expr)
	var body *ast.BlockStmt
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.Name == function {
					body = d.Body
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if v, ok := s.(*ast.ValueSpec); ok && d.Tok == token.CONST {
						for i, value := range v.Values {
							constants[v.Names[i].Name] = value
						}
					}
				}
			}
		}
	}
	if body == nil {
		t.Fatalf("%s: there is no function %s", dir, function)
	}
	options := make(map[string]string)
	ast.Inspect(body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		option, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || text(option.X) != "grpc" || option.Sel.Name == "NewServer" {
			return true
		}
		for i, arg := range call.Args {
			call.Args[i] = inlined(arg, constants)
		}
		options[option.Sel.Name] = text(call)
		return false
	})
	return options
}

// inlined puts a constant's value in the place of its name, also as the value of
// a field.
func inlined(e ast.Expr, constants map[string]ast.Expr) ast.Expr {
	if id, ok := e.(*ast.Ident); ok && constants[id.Name] != nil {
		return constants[id.Name]
	}
	ast.Inspect(e, func(n ast.Node) bool {
		if kv, ok := n.(*ast.KeyValueExpr); ok {
			kv.Value = inlined(kv.Value, constants)
		}
		if c, ok := n.(*ast.CallExpr); ok {
			for i, arg := range c.Args {
				c.Args[i] = inlined(arg, constants)
			}
		}
		return true
	})
	return e
}

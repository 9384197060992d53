package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
)

// dashboard is as much of a Grafana dashboard as is checked.
type dashboard struct {
	Title  string
	UID    string
	Panels []struct {
		ID      int
		Title   string
		Type    string
		GridPos struct{ H, W, X, Y int }
		Targets []struct{ Expr, RefID string }
	}
}

// checkDashboard holds the panels' queries to PromQL, and the panels to the grid.
func checkDashboard(file string) (panels int, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	if d.Title == "" || d.UID == "" || len(d.Panels) == 0 {
		return 0, fmt.Errorf("%s: want a title, a uid and panels", file)
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	var errs []error
	for _, p := range d.Panels {
		fail := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s: panel %q: "+format, append([]any{file, p.Title}, args...)...))
		}
		if ids[p.ID] {
			fail("another has the id %d", p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x > 23 {
					fail("it lies over %q, or off the grid", other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		panels++
		if len(p.Targets) == 0 {
			fail("it asks for nothing")
		}
		for _, t := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$vault", ".*").Replace(t.Expr)
			if _, err := parser.NewParser(parser.Options{}).ParseExpr(expr); err != nil {
				fail("%w: %s", err, expr)
			}
		}
	}
	return panels, errors.Join(errs...)
}

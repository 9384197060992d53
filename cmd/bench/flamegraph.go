package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// node is a function in the flame graph, with those that it called.
type node struct {
	name  string
	took  time.Duration
	calls map[string]*node
}

func (n *node) call(name string) *node {
	c := n.calls[name]
	if c == nil {
		c = &node{name: name, calls: make(map[string]*node)}
		n.calls[name] = c
	}
	return c
}

// The flame graph's sizes, in pixels.
const (
	flameWidth = 1200
	flameRow   = 15
	letter     = 6.1
	// Narrower than that, a function is left out.
	flameLeast = 3.0
)

// drawFlame writes the stacks as a flame graph: the outermost functions at the
// bottom, in the alphabet's order, as wide as their time, coloured by stage.
func drawFlame(w io.Writer, stacks []stack) error {
	root := &node{name: "all", calls: make(map[string]*node)}
	for _, s := range stacks {
		at := root
		at.took += s.took
		for _, f := range slices.Backward(s.frames) {
			at = at.call(f)
			at.took += s.took
		}
	}
	depth := deepest(root, root.took)
	legend := 2 * flameRow
	height := (depth+1)*flameRow + legend + 10
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="monospace" font-size="10">`+"\n", flameWidth, height)
	fmt.Fprintf(out, `<title>CPU of keyward serve under the warm Get's load</title><rect width="100%%" height="100%%" fill="#fff"/>`+"\n")
	x := 4
	y := flameRow
	for _, s := range append(slices.Clone(stages), noStage) {
		wide := 18 + int(letter*float64(len(s.name))) + 12
		if x+wide > flameWidth {
			x, y = 4, y+flameRow
		}
		fmt.Fprintf(out, `<rect x="%d" y="%d" width="11" height="11" fill="%s"/><text x="%d" y="%d">%s</text>`+"\n", x, y-10, s.colour, x+15, y-1, escape(s.name))
		x += wide
	}
	drawNode(out, root, root.took, 0, height-flameRow-2)
	fmt.Fprintln(out, "</svg>")
	return out.Flush()
}

func drawNode(w io.Writer, n *node, all time.Duration, x float64, y int) {
	wide := flameWidth * float64(n.took) / float64(all)
	if wide < flameLeast {
		return
	}
	// What stands in brackets are a generic function's types, paths and all.
	plain, types, generic := strings.Cut(n.name, "[")
	short := plain[strings.LastIndexByte(plain, '/')+1:]
	if generic {
		short += "[…]" + types[strings.LastIndexByte(types, ']')+1:]
	}
	fmt.Fprintf(w, `<g><title>%s %.1f %%</title><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s" stroke="#fff" stroke-width=".5"/>`,
		escape(n.name), 100*float64(n.took)/float64(all), x, y, wide, flameRow, stageOf(n.name).colour)
	if fits := int((wide - 4) / letter); fits >= 4 {
		if len([]rune(short)) > fits {
			short = string([]rune(short)[:fits-1]) + "…"
		}
		fmt.Fprintf(w, `<text x="%.1f" y="%d">%s</text>`, x+2, y+flameRow-4, escape(short))
	}
	fmt.Fprintln(w, "</g>")
	for _, name := range slices.Sorted(maps.Keys(n.calls)) {
		c := n.calls[name]
		drawNode(w, c, all, x, y-flameRow)
		x += flameWidth * float64(c.took) / float64(all)
	}
}

// deepest is how many functions stand above each other, of those that are drawn.
func deepest(n *node, all time.Duration) int {
	most := 0
	for _, c := range n.calls {
		if flameWidth*float64(c.took)/float64(all) >= flameLeast {
			most = max(most, 1+deepest(c, all))
		}
	}
	return most
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace

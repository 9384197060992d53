package policy

// choice are goals of which one row must hold. Without rows nothing can hold;
// an empty row always does.
type choice [][]goal

// asks is the choice of one constraint.
func asks(g goal, key string, base domain, c constraint) choice {
	return choice{{goal{e: g.e, want: g.want, key: key, base: base, c: c}}}
}

// opaque is the choice where nothing is known but that it is true or false.
func opaque(g goal, key string) choice { return asks(g, "?"+key, truths{}, truth(g.want)) }

// both and either are the choices of "&&" and "||".
func both(want bool, es ...*expr) choice {
	if !want {
		return either(true, false, es...)
	}
	var row []goal
	for _, e := range es {
		row = append(row, goal{e: e, want: true})
	}
	return choice{row}
}

func either(want, each bool, es ...*expr) choice {
	var rows choice
	var row []goal
	for _, e := range es {
		rows = append(rows, []goal{{e: e, want: each}})
		row = append(row, goal{e: e, want: !each})
	}
	if want {
		return rows
	}
	return choice{row}
}

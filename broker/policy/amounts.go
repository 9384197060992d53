package policy

import (
	"fmt"
	"math"
	"net/netip"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// number returns a number, or a time or a duration in milliseconds.
func number(v cedar.Value) (int64, bool) {
	switch v := v.(type) {
	case cedar.Long:
		return int64(v), true
	case cedar.Datetime:
		return v.Milliseconds(), true
	case cedar.Duration:
		return v.ToMilliseconds(), true
	}
	return 0, false
}

const day = 24 * 60 * 60 * 1000

// numbers returns what is known of a number. The time of day before 1970 is
// counted back.
func (v *solver) numbers(e *expr) domain {
	n, ok := e.node.(ast.NodeTypeExtensionCall)
	if !ok {
		return anyNumber
	}
	if n.Name == "toTime" {
		return nums{low: -day + 1, high: day - 1, why: `the time of a day is less than duration("24h")`}
	}
	inner, ok := n.Args[0].(ast.NodeTypeExtensionCall)
	unit := map[string]int64{"toHours": 60 * 60 * 1000, "toMinutes": 60 * 1000, "toSeconds": 1000, "toMilliseconds": 1}[string(n.Name)]
	if !ok || inner.Name != "toTime" || unit == 0 {
		return anyNumber
	}
	most := (day - 1) / unit
	return nums{low: -most, high: most, why: fmt.Sprintf("in the time of a day it is at most %d", most)}
}

// compare is "<", or "<=" with equality, or if not want, the contrary.
func (v *solver) compare(g goal, orEqual, want bool) choice {
	a, b := g.e.args[0], g.e.args[1]
	x, left := number(value(a))
	y, right := number(value(b))
	switch {
	case left && right:
		return v.is(g, (x < y || orEqual && x == y) == (want == g.want), "")
	case right: // a < y
		if want {
			return v.upTo(g, a, y, orEqual)
		}
		return v.from(g, a, y, !orEqual)
	case left: // x < b
		if want {
			return v.from(g, b, x, orEqual)
		}
		return v.upTo(g, b, x, !orEqual)
	}
	return opaque(g, key(g.e.node))
}

func (v *solver) upTo(g goal, e *expr, most int64, itself bool) choice {
	if !itself {
		if most == math.MinInt64 {
			v.never(g, "")
			return nil
		}
		most--
	}
	return asks(g, key(e.node), v.numbers(e), between{math.MinInt64, most})
}

func (v *solver) from(g goal, e *expr, least int64, itself bool) choice {
	if !itself {
		if least == math.MaxInt64 {
			v.never(g, "")
			return nil
		}
		least++
	}
	return asks(g, key(e.node), v.numbers(e), between{least, math.MaxInt64})
}

const peerKey = `context."peer"`

func isPeer(e *expr) bool { return key(e.node) == peerKey }

// peer is whether the peer is that address.
func (v *solver) peer(g goal, ip cedar.IPAddr, same bool) choice {
	prefix := ip.Prefix()
	if prefix.Bits() < prefix.Addr().BitLen() {
		return v.is(g, same != g.want, fmt.Sprintf(`the peer is one address; write context.peer.isInRange(ip("%s"))`, prefix))
	}
	return asks(g, peerKey, addrs{}, within{prefix, !same})
}

// address is of what is asked of the peer's address.
func (v *solver) address(g goal, n ast.NodeTypeExtensionCall) (choice, bool) {
	if len(g.e.args) == 0 || !isPeer(g.e.args[0]) {
		return nil, false
	}
	var in []netip.Prefix
	switch n.Name {
	case "isIpv4":
		in = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	case "isIpv6":
		in = []netip.Prefix{netip.MustParsePrefix("::/0")}
	case "isLoopback":
		in = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	case "isMulticast":
		in = []netip.Prefix{netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("ff00::/8")}
	case "isInRange":
		ip, ok := value(g.e.args[1]).(cedar.IPAddr)
		if !ok {
			return nil, false
		}
		in = []netip.Prefix{ip.Prefix().Masked()}
	default:
		return nil, false
	}
	var rows choice
	var row []goal
	for _, p := range in {
		one := asks(g, peerKey, addrs{}, within{p, !g.want})
		rows, row = append(rows, one...), append(row, one[0]...)
	}
	if g.want {
		return rows, true
	}
	return choice{row}, true
}

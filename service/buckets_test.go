package service

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
)

// Whose failures are counted together.
func TestNetwork(t *testing.T) {
	cases := map[string]struct {
		a, b string
		same bool
	}{
		"one address":                   {"192.0.2.1:1", "192.0.2.1:2", true},
		"two addresses":                 {"192.0.2.1:1", "192.0.2.2:1", false},
		"IPv4, mapped":                  {"192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		"two of IPv4, mapped":           {"[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:1", false},
		"a /64":                         {"[2001:db8:0:1::1]:1", "[2001:db8:0:1:ffff:ffff:ffff:ffff]:1", true},
		"two /64":                       {"[2001:db8:0:1::1]:1", "[2001:db8:0:2::1]:1", false},
		"with a zone":                   {"[fe80::1%eth0]:1", "[fe80::2]:1", true},
		"no address":                    {"@", "", true},
		"no address and the first IPv4": {"@", "0.0.0.0:1", false},
		"no address and the first /64":  {"@", "[::]:1", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a, b := network(peerAddr(c.a)), network(peerAddr(c.b))
			if (a == b) != c.same {
				t.Errorf("%v and %v", a, b)
			}
		})
	}
	if mapped := netip.MustParseAddr("::ffff:192.0.2.1"); network(mapped) != network(mapped.Unmap()) {
		t.Errorf("an address that is still mapped is %v", network(mapped))
	}
}

// The wait that a refused caller is told is enough, and not much more.
func TestTheWaitIsUntilATokenIsThere(t *testing.T) {
	for _, r := range []float64{0.001, 0.3, 1, 3, 7.7, 100, MaxRate} {
		t.Run(fmt.Sprint(r), func(t *testing.T) {
			b := newBuckets[string](Limit{Rate: r})
			now := time.Unix(1_000_000_000, 0)
			burst := 0
			wait := time.Duration(0)
			for ; wait == 0; burst++ {
				wait, _ = b.take("a", now)
			}
			if burst--; burst != int(math.Ceil(r)) {
				t.Errorf("a burst of %d by default", burst)
			}
			if again, _ := b.take("a", now); again != wait {
				t.Errorf("a refused call was charged: %v, then %v", wait, again)
			}
			if less, _ := b.take("a", now.Add(wait-wait/100)); less == 0 {
				t.Errorf("a token is there before %v", wait)
			}
			if more, _ := b.take("a", now.Add(wait)); more != 0 {
				t.Errorf("no token after %v, but after %v more", wait, more)
			}
			if other, _ := b.take("b", now); other != 0 {
				t.Errorf("another waits %v", other)
			}
		})
	}
	never := newBuckets[string](Limit{Rate: math.SmallestNonzeroFloat64, Burst: 1})
	never.take("a", time.Unix(1, 0))
	if wait, _ := never.take("a", time.Unix(1, 0)); wait <= 0 {
		t.Errorf("a rate of next to nothing: wait %v", wait)
	}
}

// More names than are remembered cost no more memory, and nobody a call.
func TestBucketsAreBounded(t *testing.T) {
	b := newBuckets[netip.Prefix](Limit{Rate: 1})
	a := netip.MustParseAddr("10.0.0.0")
	for range 10 * maxBuckets {
		if wait, _ := b.take(network(a), time.Unix(1, 0)); wait != 0 {
			t.Fatalf("the first call of %v waits %v", a, wait)
		}
		a = a.Next()
	}
	b.of.CleanUp()
	if n := b.of.EstimatedSize(); n > maxBuckets || n < maxBuckets/2 {
		t.Errorf("%d buckets are kept, want about %d", n, maxBuckets)
	}
}

func TestLimitsThatCannotBeKept(t *testing.T) {
	for name, l := range map[string]Limit{
		"a negative rate":  {Rate: -1},
		"no number":        {Rate: math.NaN()},
		"no end":           {Rate: math.Inf(1)},
		"a negative burst": {Rate: 1, Burst: -1},
		"too many at once": {Rate: 1, Burst: MaxRate + 1},
	} {
		for _, all := range []Limits{{Principal: l}, {FailedAuthentication: l}} {
			if _, err := newLimits(all, metricnoop.NewMeterProvider(), time.Now); err == nil {
				t.Errorf("%s was taken: %+v", name, all)
			}
		}
	}
}

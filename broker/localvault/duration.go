package localvault

import (
	"regexp"
	"strconv"
	"time"
)

// span is an ISO 8601 duration, as Key Vault's rotation policies have them: a
// number of months may be of any length, so it is no time.Duration.
type span struct {
	years, months, days int
	clock               time.Duration // hours, minutes and seconds
}

// spanPattern is PnYnMnWnDTnHnMnS, each part of at most five digits.
var spanPattern = regexp.MustCompile(`^P(?:(\d{1,5})Y)?(?:(\d{1,5})M)?(?:(\d{1,5})W)?(?:(\d{1,5})D)?` +
	`(?:T(?:(\d{1,5})H)?(?:(\d{1,5})M)?(?:(\d{1,5})S)?)?$`)

// parseSpan takes durations of more than nothing and at most a hundred years.
func parseSpan(text string) (span, bool) {
	m := spanPattern.FindStringSubmatch(text)
	if m == nil || text[len(text)-1] == 'T' {
		return span{}, false
	}
	var n [7]int
	for i := range n {
		n[i], _ = strconv.Atoi(m[i+1]) // digits, or "" for 0
	}
	d := span{
		years: n[0], months: n[1], days: 7*n[2] + n[3],
		clock: time.Duration(n[4])*time.Hour + time.Duration(n[5])*time.Minute + time.Duration(n[6])*time.Second,
	}
	const most = 100 * 365 * day
	length := d.length()
	return d, length > 0 && length <= most
}

const day = 24 * time.Hour

// length is about how long the duration is, with months of 30 days and years of
// 365.
func (d span) length() time.Duration {
	hours := (365*d.years+30*d.months+d.days)*24 + int(d.clock/time.Hour)
	const most = 200 * 365 * 24 // a time.Duration holds 292 years
	return time.Duration(min(hours, most))*time.Hour + d.clock%time.Hour
}

// after returns the time that is the duration later, by the calendar.
func (d span) after(t time.Time) time.Time { return t.AddDate(d.years, d.months, d.days).Add(d.clock) }

// before returns the time that is the duration earlier.
func (d span) before(t time.Time) time.Time {
	return t.AddDate(-d.years, -d.months, -d.days).Add(-d.clock)
}

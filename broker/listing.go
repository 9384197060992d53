package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
)

const (
	defaultPageSize = 100
	maxPageSize     = 1000
	// maxWalkPages bounds a walk of a store that never comes to an end.
	maxWalkPages = 10_000
)

// listed is an item of a list, such as *Secret or *DeletedKey: it has the name of
// an object without a version.
type listed interface {
	comparable
	listedAs() Name
	// madeAt is when the version was made that the item shows.
	madeAt() time.Time
}

func (s *Secret) listedAs() Name    { return s.Name }
func (s *Secret) madeAt() time.Time { return s.Created }
func (k *Key) listedAs() Name       { return k.Name }
func (k *Key) madeAt() time.Time    { return k.Created }

// pages asks a store for a page.
type pages[T listed] func(ctx context.Context, p Page) ([]T, string, error)

func secretPages(store SecretStore, vault Name) pages[*Secret] {
	return func(ctx context.Context, p Page) ([]*Secret, string, error) {
		got, err := store.ListSecrets(ctx, vault, p)
		return pointers(got.Secrets), got.Next, err
	}
}

func deletedSecretPages(store SecretStore, vault Name) pages[*DeletedSecret] {
	return func(ctx context.Context, p Page) ([]*DeletedSecret, string, error) {
		got, err := store.ListDeletedSecrets(ctx, vault, p)
		return pointers(got.Secrets), got.Next, err
	}
}

func keyPages(store KeyStore, vault Name) pages[*Key] {
	return func(ctx context.Context, p Page) ([]*Key, string, error) {
		got, err := store.ListKeys(ctx, vault, p)
		return pointers(got.Keys), got.Next, err
	}
}

func deletedKeyPages(store KeyStore, vault Name) pages[*DeletedKey] {
	return func(ctx context.Context, p Page) ([]*DeletedKey, string, error) {
		got, err := store.ListDeletedKeys(ctx, vault, p)
		return pointers(got.Keys), got.Next, err
	}
}

func pointers[T any](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}

func copies[T any](items []*T) []T {
	if items == nil {
		return nil
	}
	out := make([]T, len(items))
	for i, item := range items {
		out[i] = *item
	}
	return out
}

// whole returns the whole list of a store that keeps none, at a walk of its
// own.
func (next pages[T]) whole(ctx context.Context) (Whole[T], error) {
	items, err := next.walk(ctx)
	return Whole[T]{Items: items}, err
}

// walk takes every page, and returns the items sorted by name, each once.
func (next pages[T]) walk(ctx context.Context) ([]T, error) {
	e := ErrandOf(ctx)
	e.Urgency = UrgencyScan
	ctx = WithErrand(ctx, e)
	var all []T
	p := Page{Size: MaxStorePage}
	for range maxWalkPages {
		items, token, err := next(ctx, p)
		switch {
		case CodeOf(err) == CodeBadPageToken:
			// The token is the store's own: the caller has nothing to mend.
			return nil, &Error{Code: CodeVaultUnavailable, RetryAfter: time.Second, Err: err}
		case err != nil:
			return nil, err
		}
		all = append(all, items...)
		if token == "" {
			return sorted(all), nil
		}
		p.Token = token
	}
	return nil, &Error{Code: CodeVaultUnavailable, Err: fmt.Errorf("a list of more than %d pages", maxWalkPages)}
}

// sorted orders items by name. Of an item that moved from page to page while
// they were asked for, the last is kept.
func sorted[T listed](items []T) []T {
	slices.SortStableFunc(items, func(a, b T) int { return strings.Compare(a.listedAs().object, b.listedAs().object) })
	n := 0
	for i, item := range items {
		if i+1 == len(items) || items[i+1].listedAs().object != item.listedAs().object {
			items[n] = item
			n++
		}
	}
	clear(items[n:])
	return items[:n]
}

// find returns where the named item is, or would be.
func find[T listed](items []T, object string) (at int, found bool) {
	return slices.BinarySearchFunc(items, object, func(item T, object string) int {
		return strings.Compare(item.listedAs().object, object)
	})
}

// part is a page of a list, and the name that the next one begins behind.
type part[T any] struct {
	items []T
	next  string
}

// list is a guarded list: the part of a vault's whole list that begins behind
// the page's token, without what the caller may not list.
//
// A token is a name, so pages are whole whatever comes or goes between them. It
// is given out only if there is more that this caller may list: that there are
// names behind the last of his is not told.
func list[T listed](
	ctx context.Context, b *Broker, c Caller, a Action, of Name, p Page,
	whole func(context.Context) (Whole[T], error),
) (part[T], error) {
	size, err := checkPage(p)
	if err != nil {
		return part[T]{}, err
	}
	return read(ctx, b, c, a, of, func(ctx context.Context, ev *Event) (part[T], error) {
		all, err := whole(ctx)
		if err != nil {
			return part[T]{}, err
		}
		ev.Cached = all.Cached
		items := all.Items
		return permitted(ctx, b, c, a, behind(items, p.Token), size, ev)
	})
}

// behind returns the items of a sorted list that come after the named one; "" is
// the beginning.
func behind[T listed](items []T, object string) []T {
	if object == "" {
		return items
	}
	i, there := find(items, object)
	if there {
		i++
	}
	return items[i:]
}

// permitted returns the first of items that the caller may list, at most size
// of them, and adds them to the event.
func permitted[T listed](ctx context.Context, b *Broker, c Caller, a Action, items []T, size int, ev *Event) (out part[T], err error) {
	ctx, span := b.startSpan(ctx, "policy.decide")
	defer span.End()
	most := min(size, len(items))
	out.items = make([]T, 0, most)
	ev.Items = make([]Item, 0, most)
	decided := 0
	for names := make([]Name, 0, most+1); decided < len(items); {
		// As many as there is room for and one more, which tells whether there is
		// a next page. So none is decided that another page decides again, but
		// for that one.
		names = names[:0]
		chunk := items[decided:min(decided+size-len(out.items)+1, len(items))]
		for _, item := range chunk {
			names = append(names, item.listedAs())
		}
		decisions := b.decideAll(ctx, c, a, names)
		if ctx.Err() != nil { // what was not decided would look as if it were not there
			return part[T]{}, AsError(ctx.Err())
		}
		for i, d := range decisions {
			switch {
			case !d.Allowed:
			case len(out.items) < size:
				out.items = append(out.items, chunk[i])
				ev.Items = append(ev.Items, Item{Resource: names[i], Decision: d, Outcome: OutcomeOK})
			default:
				// The next page need not decide again on what was denied before it.
				out.next = items[decided+i-1].listedAs().object
			}
		}
		decided += len(chunk)
		if out.next != "" {
			break
		}
	}
	span.SetAttributes(attribute.String("keyward.action", string(a)), attribute.Int("keyward.decided", decided), attribute.Int("keyward.allowed", len(out.items)))
	return out, nil
}

// decideAll decides on each of names. What cannot be decided is denied.
func (b *Broker) decideAll(ctx context.Context, c Caller, a Action, names []Name) []Decision {
	decisions, err := b.authorizeAll(ctx, c.request(a), names)
	if err != nil {
		// It may tell of each name.
		first, _, more := strings.Cut(err.Error(), "\n")
		b.log.ErrorContext(ctx, "the policy could not be evaluated; left out of a list", "action", a, "error", first, "more", more)
	}
	return decisions
}

func (b *Broker) authorizeAll(ctx context.Context, r Request, names []Name) ([]Decision, error) {
	if bulk, ok := b.authz.(BulkAuthorizer); ok {
		decisions, err := bulk.AuthorizeAll(ctx, r, names)
		if len(decisions) != len(names) {
			return make([]Decision, len(names)), errors.Join(fmt.Errorf("%d decisions on %d names", len(decisions), len(names)), err)
		}
		return decisions, err
	}
	decisions := make([]Decision, len(names))
	var errs []error
	for i, n := range names {
		r.Resource = n
		var err error
		if decisions[i], err = b.authz.Authorize(ctx, r); err != nil {
			decisions[i].Allowed, decisions[i].BreakGlass = false, false
			errs = append(errs, err)
		}
	}
	return decisions, errors.Join(errs...)
}

// versions is a guarded list of an object's versions, newest first; of says under
// which name a version is.
func versions[T any](
	ctx context.Context, b *Broker, c Caller, a Action, name Name, p Page, of func(T) Name,
	all func(context.Context) (Whole[T], error),
) (part[T], error) {
	if _, err := pageSize(p.Size); err != nil {
		return part[T]{}, err
	}
	if err := wantBase(name); err != nil {
		return part[T]{}, err
	}
	return read(ctx, b, c, a, name, func(ctx context.Context, ev *Event) (part[T], error) {
		got, err := all(ctx)
		if err != nil {
			return part[T]{}, err
		}
		ev.Cached = got.Cached
		page, next, err := versionsPage(got.Items, of, p)
		for _, v := range page {
			ev.Items = append(ev.Items, Item{Resource: of(v), Decision: ev.Decision, Outcome: OutcomeOK})
		}
		return part[T]{items: page, next: next}, err
	})
}

// versionsPage returns a page of all versions of an object. A token is the last
// version of the page before: versions are never removed one by one, so it is
// still there unless the object went.
func versionsPage[T any](all []T, version func(T) Name, p Page) (page []T, next string, err error) {
	size, err := pageSize(p.Size)
	if err != nil {
		return nil, "", err
	}
	if p.Token != "" {
		i := slices.IndexFunc(all, func(v T) bool { return version(v).Version() == p.Token })
		if i < 0 {
			return nil, "", &Error{Code: CodeBadPageToken, Field: "page_token", Message: "the list has changed; begin again"}
		}
		all = all[i+1:]
	}
	if len(all) > size {
		return all[:size], version(all[size-1]).Version(), nil
	}
	return all, "", nil
}

// checkPage returns the size of a page whose token is a name.
func checkPage(p Page) (size int, err error) {
	if p.Token != "" {
		if _, ok := foldObject(p.Token); !ok {
			return 0, &Error{Code: CodeBadPageToken, Field: "page_token", Message: "begin the list again"}
		}
	}
	return pageSize(p.Size)
}

func pageSize(n int) (int, error) {
	switch {
	case n < 0:
		return 0, &Error{Code: CodeBadField, Field: "page_size", Message: "page_size is not negative; 0 means 100, and more than 1000 is taken as 1000"}
	case n == 0:
		return defaultPageSize, nil
	}
	return min(n, maxPageSize), nil
}

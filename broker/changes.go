package broker

import "sync"

// changes tells who watches that objects were changed through this Broker. It
// says that, not how: who is told looks for itself, so that nothing is told that
// was not decided and recorded, and ten changes in a row are one look. Its zero
// value is ready. Changes by another process do not come through it.
type changes struct {
	mu sync.Mutex
	// of are the subscribers, by the object's name.
	of map[Name]map[*subscription]struct{}
}

// subscription is one subscriber's interest in one object.
type subscription struct {
	// changed has an element if the object was changed since it was last received
	// from.
	changed chan struct{}
}

// subscribe returns a subscription to changes of the named object, which begin
// to count now, and a function that ends it.
func (c *changes) subscribe(name Name) (*subscription, func()) {
	s := &subscription{changed: make(chan struct{}, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = make(map[Name]map[*subscription]struct{})
	}
	if c.of[name] == nil {
		c.of[name] = make(map[*subscription]struct{})
	}
	c.of[name][s] = struct{}{}
	return s, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if delete(c.of[name], s); len(c.of[name]) == 0 {
			delete(c.of, name)
		}
	}
}

// publish says that the named object was changed, whichever version. A name
// without an object stands for any of its vault.
func (c *changes) publish(name Name) {
	name = name.Base()
	c.mu.Lock()
	defer c.mu.Unlock()
	if name.object != "" {
		tell(c.of[name])
		return
	}
	for n, all := range c.of {
		if n.vault == name.vault {
			tell(all)
		}
	}
}

func tell(all map[*subscription]struct{}) {
	for s := range all {
		select {
		case s.changed <- struct{}{}:
		default: // it is told already, and has not looked yet
		}
	}
}

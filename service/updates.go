package service

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keyward/keyward/broker"
)

// What the updates of all nouns have in common. An update carries the noun with
// a mask of what to change of it.

// pathsOf returns the fields that a mask names, of those that can change of m,
// and whether it names them all by "*". Without a mask they are those that are
// not zero.
func pathsOf(m proto.Message, updatable, mask []string, filled bool) (paths []string, all bool, err error) {
	fields := m.ProtoReflect().Descriptor().Fields()
	if len(mask) == 0 {
		for _, p := range updatable {
			if m.ProtoReflect().Has(fields.ByName(protoreflect.Name(p))) {
				paths = append(paths, p)
			}
		}
		return paths, false, nil
	}
	for _, p := range mask {
		if p == "*" {
			return updatable, true, nil
		}
		// The gateway leaves a query's mask in lower camel case.
		if f := fields.ByJSONName(p); f != nil {
			p = string(f.Name())
		}
		switch {
		case slices.Contains(updatable, p):
			paths = append(paths, p)
		case !filled:
			last := len(updatable) - 1
			return nil, false, &broker.Error{
				Code: broker.CodeBadField, Field: "update_mask",
				Message: fmt.Sprintf("%.64q cannot be updated; update_mask takes %s and %s", p, strings.Join(updatable[:last], ", "), updatable[last]),
			}
		}
	}
	return paths, false, nil
}

// timesOf returns the two times that a noun's update may change; field is what
// the request calls the noun.
func timesOf(field string, m interface {
	GetNotBeforeTime() *timestamppb.Timestamp
	GetExpireTime() *timestamppb.Timestamp
},
) (notBefore, expires time.Time, err error) {
	if notBefore, err = timeOf(field+".not_before_time", m.GetNotBeforeTime()); err != nil {
		return time.Time{}, time.Time{}, err
	}
	expires, err = timeOf(field+".expire_time", m.GetExpireTime())
	return notBefore, expires, err
}

// changed returns t if it is to be changed. A time cannot be removed. One that
// is named must be there; one that is meant by "*" and is not there stays as it
// is.
func changed(paths []string, all bool, path string, t time.Time) *time.Time {
	if !slices.Contains(paths, path) || all && t.IsZero() {
		return nil
	}
	return &t
}

// timeOf returns the time of an optional field, the zero time if it is unset.
func timeOf(field string, t *timestamppb.Timestamp) (time.Time, error) {
	switch {
	case t == nil:
		return time.Time{}, nil
	case !t.IsValid() || t.GetSeconds() < 0:
		return time.Time{}, &broker.Error{Code: broker.CodeBadField, Field: field, Message: field + " must be a time from 1970 to 9999"}
	}
	return t.AsTime(), nil
}

// within names the field at fault as a request does that carries it in another.
func within(field string, updatable []string, err error) error {
	e := broker.AsError(err)
	if err == nil || e.Code != broker.CodeBadField || !slices.Contains(updatable, e.Field) {
		return err
	}
	return ofField(field+"."+e.Field, err)
}

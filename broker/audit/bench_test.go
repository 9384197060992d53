package audit

import (
	"path/filepath"
	"testing"
)

// BenchmarkRecord is what each call pays: alone, and among others.
func BenchmarkRecord(b *testing.B) {
	e := act("spiffe://example.org/billing")
	e.Decision.Policies = []string{"pay.cedar:3:1"}
	for _, mode := range []Sync{SyncInterval, SyncAlways} {
		open := func(b *testing.B) *Log {
			l, err := Open(Config{Path: filepath.Join(b.TempDir(), "audit.jsonl"), Sync: mode})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = l.Close() })
			return l
		}
		b.Run(mode.String()+"/alone", func(b *testing.B) {
			l := open(b)
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Record(b.Context(), e); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(mode.String()+"/of 64", func(b *testing.B) {
			l := open(b)
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := l.Record(b.Context(), e); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

package audit_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"testing"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/internal/kube/audit/audittest"
	"github.com/sallyport/sallyport/testbed/cputime"
)

// BenchmarkParse compares the parser with what it is measured by: decoding every
// line with encoding/json into the event's own shape, and reading lines only.
func BenchmarkParse(b *testing.B) {
	for name, share := range map[string]float64{"mix": 0.01, "relevant": 1} {
		log, _ := audittest.Mix{Seed: 1, Events: 20000, Relevant: share}.Lines()
		b.Run(name+"/sallyport", func(b *testing.B) {
			perLine(b, log, func(line []byte) {
				if _, err := audit.Parse(line, &event.KubeRequest{}); err != nil {
					b.Fatal(err)
				}
			})
		})
		b.Run(name+"/encoding-json", func(b *testing.B) {
			perLine(b, log, func(line []byte) {
				var e audittest.Event
				if err := json.Unmarshal(line, &e); err != nil {
					b.Fatal(err)
				}
			})
		})
		b.Run(name+"/lines", func(b *testing.B) { perLine(b, log, func([]byte) {}) })
	}
}

// perLine reads the whole log again and again; an operation is one line.
func perLine(b *testing.B, log []byte, each func([]byte)) {
	b.ReportAllocs()
	n, size, began := 0, 0, cputime.Total()
	for n < b.N {
		r := bufio.NewReaderSize(bytes.NewReader(log), 1<<16)
		for n < b.N {
			line, err := r.ReadSlice('\n')
			if err != nil {
				break
			}
			each(line)
			n++
			size += len(line)
		}
	}
	if spent := (cputime.Total() - began).Seconds(); spent > 0 {
		b.ReportMetric(float64(n)/spent, "events/cpu-s")
		b.ReportMetric(float64(size)/1e6/spent, "MB/cpu-s")
	}
}

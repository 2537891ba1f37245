package wire

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// TestHostileFramesStayCheap sends frames of a megabyte that are made to cost as much as possible. What a decoder takes in
// memory, all of it counted though most is gone at once, stays within a small multiple of the frame.
func TestHostileFramesStayCheap(t *testing.T) {
	const size = 1 << 20
	fill := func(head, unit, tail string) string {
		return head + strings.Repeat(unit, (size-len(head)-len(tail))/len(unit)) + tail
	}
	many := func(head, format, tail string) string {
		var b strings.Builder
		b.WriteString(head)
		for i := 0; b.Len() < size-len(tail)-30; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.String() + tail
	}
	mutation := `{"id":"` + testID + `","type":"t","x":`
	for name, frame := range map[string]string{
		"deep lists":                fill(`{"type":"ping","x":`, `[`, ``),
		"deep objects":              fill(`{"type":"ping","x":`, `{"":`, ``),
		"deep and closed":           `{"type":"ping","x":` + strings.Repeat("[", size/2) + strings.Repeat("]", size/2) + `}`,
		"unknown fields":            many(`{"type":"ping"`, `,"%d":0`, `}`),
		"unknown fields, escaped":   many(`{"type":"ping"`, `,"\u0041%d":0`, `}`),
		"unknown fields, type last": many(`{"z":0`, `,"%d":0`, `,"type":"ping"}`),
		"one long name":             fill(`{"type":"ping","`, `\u0041`, `":1}`),
		"one long ref":              fill(`{"type":"ping","ref":"`, `\u0041`, `"}`),
		"a long number":             fill(`{"type":"ping","ref":`, `9`, `}`),
		"a long type":               fill(`{"type":"`, `x`, `"}`),
		"a long key":                fill(`{"type":"push","stream":"a","mutations":[{"key":"`, `\n`, `"}]}`),
		"long streams":              fill(`{"type":"push","stream":"`, `a/`, `"}`),
		"empty mutations":           fill(`{"type":"push","stream":"a","mutations":[{}`, `,{}`, `]}`),
		"numbers for mutations":     fill(`{"type":"push","stream":"a","mutations":[0`, `,0`, `]}`),
		"fields of mutations":       many(`{"type":"push","stream":"a","mutations":[`+mutation+`1`, `,"%d":0`, `}]}`),
		"data after data":           fill(`{"type":"push","stream":"a","mutations":[{"data":0`, `,"data":[[[[[]]]]]`, `}]}`),
		"deep data":                 fill(`{"type":"push","stream":"a","mutations":[{"data":`, `[`, ``),
		"subs without end":          fill(`{"type":"hello","subs":[{}`, `,{}`, `]}`),
		"a long token":              fill(`{"type":"hello","token":"`, `\u0041`, `"}`),
		"bad UTF-8":                 fill(`{"type":"ping","x":"`, "\xff", `"}`),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			m, fault := decoder().Decode([]byte(frame))
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > 8*size {
				t.Errorf("%d bytes for a frame of %d", took, len(frame))
			}
			if m == nil && fault == nil {
				t.Error("neither message nor fault")
			}
		})
	}
}

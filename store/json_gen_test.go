package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// jsonGen makes random JSON out of few names and words, so that equal names and equal paths are frequent.
type jsonGen struct{ *rand.Rand }

func newJSONGen(seed uint64) jsonGen { return jsonGen{rand.New(rand.NewPCG(seed, 20))} }

// seeds is n, or a fiftieth of it when tests are to be short: what they are for has one goroutine, and nothing to race with.
func seeds(n uint64) uint64 {
	if testing.Short() {
		return max(1, n/50)
	}
	return n
}

var (
	genNames   = []string{`"a"`, `"b"`, `"\u0061"`, `"c d"`, `"\ud83c\udf0a"`, `"🌊"`, `"long name of a member, in all"`, `""`, `"\n"`, `"\u000a"`, `"é"`, `"\/"`, `"/"`}
	genScalars = []string{`0`, `-1.50`, `1E400`, `12345678901234567890123`, `true`, `false`, `null`, `null`, `""`, `"x"`, `"[{\"a\":1}]"`, `"\ud800"`, `"a long string, longer than a word"`}
)

func (g jsonGen) value(depth int) []byte {
	switch n := g.IntN(10); {
	case depth > 0 && n < 5:
		return g.object(depth)
	case depth > 0 && n < 7:
		return g.array(depth)
	}
	return []byte(genScalars[g.IntN(len(genScalars))])
}

func (g jsonGen) array(depth int) []byte {
	parts := make([][]byte, g.IntN(4))
	for i := range parts {
		parts[i] = g.value(depth - 1)
	}
	return fmt.Appendf(nil, "[%s]", bytes.Join(parts, []byte(",")))
}

// object is now and then so large that names are found by an index.
func (g jsonGen) object(depth int) []byte {
	n := g.IntN(6)
	if g.IntN(40) == 0 {
		n = fewNames * 3
	}
	parts := make([][]byte, n)
	for i := range parts {
		name := genNames[g.IntN(len(genNames))]
		if n > fewNames && g.IntN(3) > 0 {
			name = fmt.Sprintf(`"m%d"`, g.IntN(2*fewNames))
		}
		parts[i] = append([]byte(name+":"), g.value(depth-1)...)
	}
	return fmt.Appendf(nil, "{%s}", bytes.Join(parts, []byte(",")))
}

// spaced puts white space between the tokens.
func (g jsonGen) spaced(text []byte) []byte {
	var out []byte
	inString := false
	for i := 0; i < len(text); i++ {
		b := text[i]
		switch {
		case inString && b == '\\':
			out = append(out, b)
			i++
			b = text[i]
		case b == '"':
			inString = !inString
		case !inString && strings.IndexByte("{}[],:", b) >= 0:
			out = append(out, []string{"", "", " ", "\n\t"}[g.IntN(4)]...)
			out = append(out, b)
			b = " \n\r\t"[g.IntN(4)]
		}
		out = append(out, b)
	}
	return out
}

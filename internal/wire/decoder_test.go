package wire

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"tidemark/store"
)

func decoder() *Decoder { return &Decoder{Limits: Limits{}.WithDefaults()} }

func mustDecode[M Message](t testing.TB, d *Decoder, frame string) M {
	t.Helper()
	m, fault := d.Decode([]byte(frame))
	if fault != nil {
		t.Fatalf("%s: %v", frame, fault)
	}
	return m.(M)
}

const (
	testID  = "0192a0b1-0000-7000-8000-00000000000a"
	testLog = "0192a0b1-0000-7000-8000-000000000010"
	other   = "0192a0b1-0000-7000-8000-000000000011"
)

func TestHelloLogHoldsForTheConnection(t *testing.T) {
	d := decoder()
	log, own := mustID(t, testLog), mustID(t, other)
	h := mustDecode[*Hello](t, d, `{"type":"hello","subs":[{"sub":1,"stream":"a","since":3}],"log":"`+testLog+`"}`)
	if h.Subs[0].Cursor.Log != log {
		t.Errorf("the entry's log is %v", h.Subs[0].Cursor.Log)
	}
	if s := mustDecode[*Subscribe](t, d, `{"type":"subscribe","sub":2,"stream":"a","since":3}`); s.Cursor.Log != log {
		t.Errorf("the cursor's log is %v", s.Cursor.Log)
	}
	if s := mustDecode[*Subscribe](t, d, `{"type":"subscribe","sub":2,"stream":"a","since":3,"log":"`+other+`"}`); s.Cursor.Log != own {
		t.Errorf("the cursor's own log is %v", s.Cursor.Log)
	}
	push := `{"type":"push","stream":"a","mutations":[{"id":"` + testID + `","type":"t","expect":5},{"id":"` + testID + `","type":"t","expect":"` + other + `"}]%s}`
	p := mustDecode[*Push](t, d, fmt.Sprintf(push, ""))
	if p.Mutations[0].Expect.Log != log || !p.Mutations[1].Expect.Log.IsZero() {
		t.Errorf("expectations %+v, %+v", p.Mutations[0].Expect, p.Mutations[1].Expect)
	}
	if p := mustDecode[*Push](t, d, fmt.Sprintf(push, `,"log":"`+other+`"`)); p.Mutations[0].Expect.Log != own {
		t.Errorf("expectation %+v", p.Mutations[0].Expect)
	}
}

// TestDecodedPushesStandAlone decodes many pushes with one decoder and looks at them afterwards: names that come again are
// shared, data is cut from larger pieces of memory, and nothing of that may show.
func TestDecodedPushesStandAlone(t *testing.T) {
	d := decoder()
	var pushes []*Push
	text := func(i, j int) string {
		data := strings.Repeat(fmt.Sprintf("%d.%d ", i, j), 1+(i*j)%700)
		return fmt.Sprintf(`{"id":%q,"stream":"s/%d","type":"t%d","key":"k%d","op":"put","data":[%q, 1]}`, testID, i%3, i%2, j, data)
	}
	for i := range 60 {
		var muts []string
		for j := range 20 {
			muts = append(muts, text(i, j))
		}
		frame := []byte(`{"type":"push","mutations":[` + strings.Join(muts, ",") + `]}`)
		m, fault := d.Decode(frame)
		if fault != nil {
			t.Fatal(fault)
		}
		clear(frame)
		pushes = append(pushes, m.(*Push))
	}
	for i, p := range pushes {
		for j := range p.Mutations {
			want := strings.Replace(text(i, j), `, 1]`, `,1]`, 1)
			checkSameJSON(t, AppendMutation(nil, &p.Mutations[j], true), []byte(want))
		}
		if cap(p.Mutations[0].Data) != len(p.Mutations[0].Data) {
			t.Error("data can grow into its neighbour")
		}
	}
}

func TestLimitsDefaults(t *testing.T) {
	got := Limits{Data: 5}.WithDefaults()
	want := Limits{Frame: 1 << 20, Mutations: 1000, Inflight: 1000, Subs: 1000, Data: 5, Doc: 1 << 20, Presence: 1000}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestRefs(t *testing.T) {
	for _, n := range []int64{0, -1, 1<<53 - 1, -(1<<53 - 1)} {
		p := mustDecode[*Ping](t, decoder(), string((&Ping{Ref: IntRef(n)}).Append(nil)))
		if got, ok := p.Ref.Int(); !ok || got != n {
			t.Errorf("%d became %s", n, p.Ref)
		}
	}
	if _, ok := StringRef("17").Int(); ok {
		t.Error("a string is no number")
	}
	if p := mustDecode[*Ping](t, decoder(), `{"type":"ping","ref":"x\u0041"}`); p.Ref != `"x\u0041"` {
		t.Errorf("ref %s", p.Ref)
	}
}

func TestFromError(t *testing.T) {
	conflict := &store.Refusal{Code: store.CodeConflict, Message: "m", Seq: 5, Data: []byte("1")}
	_, badName := store.ParseStream("a//b")
	for _, c := range []struct {
		err    error
		code   store.Code
		hidden bool
	}{
		{fmt.Errorf("wrapped: %w", conflict), store.CodeConflict, false},
		{fmt.Errorf("wrapped: %w", &Error{Code: store.CodeForbidden}), store.CodeForbidden, false},
		{badName, store.CodeStreamInvalid, false},
		{io.ErrUnexpectedEOF, store.CodeInternal, true},
		{errors.New("/var/lib/secret"), store.CodeInternal, true},
	} {
		e, hidden := FromError(c.err)
		if e.Code != c.code || hidden != c.hidden || strings.Contains(e.Message, "secret") || e.Later != e.Code.Later() {
			t.Errorf("%v: %+v, hidden %v", c.err, e, hidden)
		}
	}
	if e, _ := FromError(conflict); e.Seq != 5 || e.Refusal().Seq != 5 || string(e.Refusal().Data) != "1" {
		t.Errorf("%+v", e)
	}
}

func TestCodesEndConnections(t *testing.T) {
	for code, want := range map[store.Code]Close{
		store.CodeUnauthorized: CloseUnauthorized, store.CodeTokenExpired: CloseUnauthorized, store.CodeForbidden: CloseForbidden,
		store.CodeBadMessage: CloseProtocol, store.CodeOverloaded: CloseOverloaded, "unheard_of": CloseOverloaded,
	} {
		if got := CloseFor(code); got != want {
			t.Errorf("%s closes with %v, want %v", code, got, want)
		}
	}
	if Status("unheard_of") != 500 {
		t.Errorf("status %d", Status("unheard_of"))
	}
}

func TestHelloWithTooManySubs(t *testing.T) {
	d := &Decoder{Limits: Limits{Subs: 2}.WithDefaults()}
	h := mustDecode[*Hello](t, d, `{"type":"hello","subs":[{},7,{},{"sub":4,"stream":"a"},null,{"sub":6}]}`)
	var got []uint64
	for _, s := range h.Subs {
		got = append(got, s.Sub)
	}
	// The server answers those that are too many, but not those that nobody could recognise.
	if want := []uint64{0, 0, 4, 6}; !slices.Equal(got, want) {
		t.Errorf("subs %v, want %v", got, want)
	}
}

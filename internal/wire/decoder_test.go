package wire

import (
	"testing"

	"tidemark/store"
)

func TestDecodeSmoke(t *testing.T) {
	d := Decoder{Limits: Limits{}.WithDefaults()}
	m, e := d.Decode([]byte(`{"mutations":[{"id":"0192a0b1-0000-7000-8000-000000000001","type":"x","data": {"a" : 1}},{"id":3},7],"stream":"room/1","ref":"a","type":"push"}`))
	if e != nil {
		t.Fatal(e)
	}
	p := m.(*Push)
	if p.Ref != `"a"` || len(p.Mutations) != 3 || string(p.Mutations[0].Data) != `{"a":1}` || p.Refused[0] != nil {
		t.Errorf("push = %+v", p)
	}
	if p.Refused[1] == nil || p.Refused[2].Code != store.CodeMutationInvalid {
		t.Errorf("refused = %v", p.Refused)
	}
}

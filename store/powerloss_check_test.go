//go:build linux

package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"
)

// plSeen is an event that the outside world was told of: acknowledged, delivered or read.
type plSeen struct {
	Seq Seq
	ID  ID
	At  int64
}

// plTruth is what a recording says must be true.
type plTruth struct {
	known   map[ID]Mutation // everything that was ever sent
	pushOf  map[ID]*Push
	events  []Event // by seq - 1: everything that was ever told, over the whole recording
	docs    []map[DocKey]plDoc
	right   map[string]bool // documents that were compared already
	log     ID
	need    Seq             // so far
	floor   Seq             // so far: what was trimmed, and told so
	backups map[string]Seq  // so far: the head of each finished copy
	copies  map[uint32]bool // that were looked at already, by checksum
}

type plDoc struct {
	seq  Seq
	data any // nil: none
}

// newTruth reads all notes of a recording first: what a seq holds can never change.
func newTruth(rec *plRecording) (*plTruth, error) {
	t := &plTruth{known: map[ID]Mutation{}, pushOf: map[ID]*Push{}, right: map[string]bool{}, backups: map[string]Seq{}, copies: map[uint32]bool{}}
	for _, spec := range rec.Specs {
		for _, p := range spec.pushes() {
			for _, m := range p.Mutations {
				t.known[m.ID], t.pushOf[m.ID] = m, p
			}
		}
	}
	t.log = rec.Log
	seen := map[Seq]plSeen{}
	for _, s := range rec.Seen {
		seen[s.Seq] = s
		t.need = max(t.need, s.Seq)
	}
	for _, op := range rec.Ops {
		if op.Kind != plNote {
			continue
		}
		for _, s := range plSeenIn(op.To) {
			old, again := seen[s.Seq]
			if again && (old.ID != s.ID || s.At != 0 && old.At != 0 && old.At != s.At) {
				return nil, fmt.Errorf("event %d was %s and is %s", s.Seq, old.ID, s.ID)
			}
			if s.At == 0 {
				s.At = old.At
			}
			seen[s.Seq] = s
		}
	}
	return t, t.build(seen)
}

// build makes the events that must be found, and the documents as of each of them.
func (t *plTruth) build(seen map[Seq]plSeen) error {
	twice := map[ID]Seq{}
	last := map[Stream]Seq{}
	docs := map[DocKey]plDoc{}
	t.docs = append(t.docs, docs)
	for seq := Seq(1); seq <= Seq(len(seen)); seq++ {
		s, ok := seen[seq]
		m, sent := t.known[s.ID]
		switch {
		case !ok:
			return fmt.Errorf("nobody was told of event %d of %d", seq, len(seen))
		case !sent:
			return fmt.Errorf("event %d has the id %s, which nobody sent", seq, s.ID)
		case twice[s.ID] != 0:
			return fmt.Errorf("%s is event %d and event %d", s.ID, twice[s.ID], seq)
		}
		twice[s.ID] = seq
		e := Event{Seq: seq, Prev: last[m.Stream], At: s.At, ID: m.ID, Stream: m.Stream, Type: m.Type, Key: m.Key, By: "tester", Op: m.Op, Data: m.Data}
		last[m.Stream] = seq
		docs = plFold(docs, &e)
		t.docs = append(t.docs, docs)
		t.events = append(t.events, e)
	}
	return nil
}

// plFold returns the documents after an event, and sets its KPrev. It is written without the store's own code.
func plFold(docs map[DocKey]plDoc, e *Event) map[DocKey]plDoc {
	if e.Key == "" {
		return docs
	}
	next := make(map[DocKey]plDoc, len(docs)+1)
	maps.Copy(next, docs)
	at := DocKey{e.Stream, e.Key}
	d := next[at]
	e.KPrev, d.seq = d.seq, e.Seq
	var v any
	if e.Data != nil {
		if err := json.Unmarshal(e.Data, &v); err != nil {
			panic(err)
		}
	}
	switch e.Op {
	case OpPut:
		d.data = v
	case OpDelete:
		d.data = nil
	case OpPatch:
		d.data = plMerge(d.data, v)
	}
	next[at] = d
	return next
}

// plMerge is RFC 7396, as its text has it.
func plMerge(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out := map[string]any{}
	if t, ok := target.(map[string]any); ok {
		maps.Copy(out, t)
	}
	for k, v := range p {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = plMerge(out[k], v)
		}
	}
	return out
}

// hear takes what was told at one moment.
func (t *plTruth) hear(text string) {
	for _, s := range plSeenIn(text) {
		t.need = max(t.need, s.Seq)
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch f[0] {
		case "floor":
			n, _ := strconv.ParseUint(f[1], 10, 64)
			t.floor = max(t.floor, Seq(n))
		case "log":
			t.log, _ = ParseID(f[1])
		case "backup":
			n, _ := strconv.ParseUint(f[2], 10, 64)
			t.backups[f[1]] = Seq(n)
		}
	}
}

func plSeenIn(text string) (out []plSeen) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != "saw" && f[0] != "ack" {
			continue
		}
		seq, _ := strconv.ParseUint(f[1], 10, 64)
		id, _ := ParseID(f[2])
		s := plSeen{Seq: Seq(seq), ID: id}
		if f[0] == "saw" {
			s.At, _ = strconv.ParseInt(f[3], 10, 64)
		}
		out = append(out, s)
	}
	return out
}

// check opens the store in a folder as a start after a power loss would, and compares it with the truth.
func (t *plTruth) check(path string, o Options, r *rand.Rand) (err error) {
	if _, e := os.Stat(path); errors.Is(e, os.ErrNotExist) && t.need > 0 {
		return errors.New("the file is gone")
	}
	s, err := Open(path, o)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() {
		if e := s.Close(); e != nil && err == nil {
			err = fmt.Errorf("close: %w", e)
		}
	}()
	if err := t.compare(s, r); err != nil {
		return err
	}
	return t.goOn(s, r)
}

// compare checks that everything that was told is there, nothing else is, and that the views fit.
func (t *plTruth) compare(s *Store, r *rand.Rand) error {
	floor, head := s.Floor(), s.Head()
	switch {
	case !t.log.IsZero() && s.LogID() != t.log:
		return fmt.Errorf("the log has the id %s, want %s", s.LogID(), t.log)
	case head < t.need:
		return fmt.Errorf("the head is %d: event %d, which was told, is lost", head, t.need)
	case floor < t.floor:
		return fmt.Errorf("the floor is %d, and was %d", floor, t.floor)
	}
	events, err := plRead(s, All, floor)
	if err != nil {
		return err
	}
	if len(events) != int(head-floor) {
		return fmt.Errorf("%d events from the floor %d to the head %d", len(events), floor, head)
	}
	docs := t.docs[min(int(floor), len(t.docs)-1)]
	for i := range events {
		e := &events[i]
		if int(e.Seq) <= len(t.events) {
			docs = t.docs[e.Seq]
			if err := t.sameEvent(e, &t.events[e.Seq-1]); err != nil {
				return err
			}
			continue
		}
		if docs, err = t.untold(e, docs); err != nil {
			return err
		}
	}
	if n := len(events); n > 0 && events[n-1].Flags.Has(FlagMore) {
		return fmt.Errorf("event %d is the last, and only a part of an atomic push", head)
	}
	if err := t.sameDocs(s, docs); err != nil {
		return err
	}
	return plStream(s, events, Stream(fmt.Sprintf("room/%d", r.IntN(5))))
}

func (t *plTruth) sameEvent(got, want *Event) error {
	switch {
	case got.Seq != want.Seq || got.ID != want.ID || got.Prev != want.Prev || got.KPrev != want.KPrev || got.Op != want.Op ||
		got.Stream != want.Stream || got.Type != want.Type || got.Key != want.Key || got.By != want.By || !bytes.Equal(got.Data, want.Data):
		return fmt.Errorf("event %d is %v, want %v", want.Seq, *got, *want)
	case want.At != 0 && got.At != want.At:
		return fmt.Errorf("event %d has the time %d, was told with %d", want.Seq, got.At, want.At)
	}
	return t.whole(got)
}

// whole checks that the event is marked as part of its push.
func (t *plTruth) whole(e *Event) error {
	p := t.pushOf[e.ID]
	more := p.Atomic && e.ID != p.Mutations[len(p.Mutations)-1].ID
	if e.Flags.Has(FlagMore) != more {
		return fmt.Errorf("event %d: is more of its push to come: %v, want %v", e.Seq, !more, more)
	}
	return nil
}

// untold checks an event that nobody was told of: it must be one that was sent.
func (t *plTruth) untold(e *Event, docs map[DocKey]plDoc) (map[DocKey]plDoc, error) {
	m, sent := t.known[e.ID]
	if !sent {
		return nil, fmt.Errorf("event %d has the id %s, which nobody sent", e.Seq, e.ID)
	}
	want := Event{Seq: e.Seq, Prev: e.Prev, At: e.At, ID: m.ID, Stream: m.Stream, Type: m.Type, Key: m.Key, By: "tester", Op: m.Op, Data: m.Data}
	docs = plFold(docs, &want)
	return docs, t.sameEvent(e, &want)
}

func (t *plTruth) sameDocs(s *Store, want map[DocKey]plDoc) error {
	found := 0
	for after := (DocKey{}); ; {
		p, err := s.Documents(All, after, 1<<20)
		if err != nil {
			return fmt.Errorf("documents: %w", err)
		}
		for _, d := range p.Docs {
			after = DocKey{d.Stream, d.Key}
			w := want[after]
			if w.data == nil || w.seq != d.Seq || !t.sameDoc(d, w) {
				return fmt.Errorf("document %v of event %d is %s, want %v of event %d", after, d.Seq, d.Data, w.data, w.seq)
			}
			found++
		}
		if !p.More {
			break
		}
	}
	for k, w := range want {
		if w.data != nil {
			found--
		}
		if found < 0 {
			return fmt.Errorf("a document is missing, perhaps %v", k)
		}
	}
	return nil
}

// sameDoc compares the content, once for each pair.
func (t *plTruth) sameDoc(d Doc, w plDoc) bool {
	key := fmt.Sprintf("%d\x00%s\x00%s\x00%s", d.Seq, d.Stream, d.Key, d.Data)
	if t.right[key] {
		return true
	}
	var v any
	if json.Unmarshal(d.Data, &v) != nil || !reflect.DeepEqual(v, w.data) {
		return false
	}
	t.right[key] = d.Seq <= t.need // what was not told may be another event next time
	return true
}

// plStream reads one stream by its links and compares it with a scan.
func plStream(s *Store, all []Event, name Stream) error {
	got, err := plRead(s, Only(name), s.Floor())
	if err != nil {
		return err
	}
	for i := range all {
		if all[i].Stream != name {
			continue
		}
		if len(got) == 0 || got[0].Seq != all[i].Seq {
			return fmt.Errorf("stream %s lacks event %d", name, all[i].Seq)
		}
		got = got[1:]
	}
	if len(got) > 0 {
		return fmt.Errorf("stream %s has event %d, the log has not", name, got[0].Seq)
	}
	return nil
}

func plRead(s *Store, f Filter, after Seq) (out []Event, err error) {
	for {
		p, err := s.Read(f, after, PageLimit{})
		if err != nil {
			return nil, fmt.Errorf("read %s after %d: %w", f, after, err)
		}
		out = append(out, p.Events...)
		if after = p.Through; !p.More {
			return out, nil
		}
	}
}

// goOn works with the store as clients that come back do: they resend what they know, and get their old verdicts; then they
// send something new.
func (t *plTruth) goOn(s *Store, r *rand.Rand) error {
	head := s.Head()
	var old []Event
	if t.need > 0 {
		old = append(old, t.events[t.need-1], t.events[r.IntN(int(t.need))], t.events[r.IntN(int(t.need))])
	}
	p := &Push{By: "tester"}
	for _, e := range old {
		p.Mutations = append(p.Mutations, t.known[e.ID])
	}
	fresh := put("room/0", "k0", `{"after":"the loss"}`)
	p.Mutations = append(p.Mutations, fresh)
	v, err := s.AppendWait(context.Background(), p)
	if err != nil {
		return fmt.Errorf("append: %w", err)
	}
	for i, e := range old {
		if !v[i].Dup || v[i].Seq != e.Seq {
			return fmt.Errorf("event %d, sent again, gets %+v", e.Seq, v[i])
		}
	}
	if n := v[len(old)]; n.Refusal != nil || n.Seq != head+1 {
		return fmt.Errorf("a new event behind %d gets %+v", head, n)
	}
	return nil
}

// plReport is what a process that checks images prints about one recording.
type plReport struct {
	Images int
	Bad    int
	First  []string
}

func (r *plReport) bad(what string) {
	if r.Bad++; len(r.First) < 3 {
		r.First = append(r.First, what)
	}
}

// plCheck looks at a part of the images of some recordings.
func plCheck() {
	debug.SetGCPercent(800)
	recs, err := loadRecordings(os.Getenv(plEnv + "_REC"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(plExitWrong)
	}
	var part, parts int
	fmt.Sscanf(os.Getenv(plEnv+"_PART"), "%d/%d", &part, &parts)
	c := plImages{dir: os.Getenv(plEnv + "_DIR"), r: rand.New(rand.NewPCG(3, uint64(part)))}
	reports := make([]plReport, len(recs))
	for i, rec := range recs {
		c.checkRecording(rec, part, parts, &reports[i])
	}
	if err := json.NewEncoder(os.Stdout).Encode(reports); err != nil {
		os.Exit(plExitWrong)
	}
}

func (c *plImages) checkRecording(rec *plRecording, part, parts int, rep *plReport) {
	truth, err := newTruth(rec)
	if err != nil {
		rep.bad(err.Error())
		return
	}
	c.o = rec.Specs[len(rec.Specs)-1].options()
	c.o.faults = faults{blindJournal: c.o.faults.blindJournal} // else, what is broken on purpose is the run, not the start after it
	n, most := 0, 3
	if rec.Broken {
		most = 1 // one is enough; what more of them do to bbolt is not known
	}
	rec.each(func(at int, d *plDisk, img plImage) {
		if n++; n%parts != part || rep.Bad >= most {
			return
		}
		rep.Images++
		err := c.put(d, img)
		if err == nil {
			err = c.check(truth)
		}
		c.fresh = err != nil
		if err != nil {
			rep.bad(fmt.Sprintf("operation %d (%.200v), %s: %v", at, rec.Ops[at], img.how, err))
		}
	}, truth.hear)
}

// each calls fn with every image of the recording, and hear with every note before the images that follow it.
func (rec *plRecording) each(fn func(at int, d *plDisk, img plImage), hear func(string)) {
	d, r := rec.disk(), rand.New(rand.NewPCG(1, 2))
	for at, op := range rec.Ops {
		d.step(op)
		if op.Kind == plNote {
			hear(op.To)
		}
		if at >= rec.From {
			d.images(r, op, func(img plImage) { fn(at, d, img) })
		}
	}
}

// plImages makes images in a folder.
type plImages struct {
	dir   string
	o     Options
	r     *rand.Rand
	buf   []byte
	n     int
	fresh bool // the next image must not use the files of the last one
}

// put writes an image into the folder, in the place of what is there. After a check that failed the files are new ones: the start
// may have left the old ones locked.
func (c *plImages) put(d *plDisk, img plImage) error {
	old, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, e := range old {
		if _, keep := img.dir[e.Name()]; keep && !c.fresh {
			continue
		}
		if err := os.Remove(filepath.Join(c.dir, e.Name())); err != nil {
			return err
		}
	}
	for name, n := range img.dir {
		c.buf = d.content(c.buf[:0], img, n)
		if err := plWriteOver(filepath.Join(c.dir, name), c.buf); err != nil {
			return err
		}
	}
	return nil
}

// plWriteOver is os.WriteFile, but uses the file's memory again.
func plWriteOver(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Truncate(int64(len(b))), f.Close())
}

// content appends a file of an image to an empty buffer.
func (d *plDisk) content(buf []byte, img plImage, n int) []byte {
	buf = append(buf, d.files[n]...)
	for i := range img.ops {
		if img.ops[i].File == n {
			buf = img.ops[i].apply(buf)
		}
	}
	return buf
}

// checkBackups looks at the copies that were finished.
func (t *plTruth) checkBackups(dir string, o Options) error {
	for name, head := range t.backups {
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("a finished backup: %w", err)
		}
		sum := crc32.ChecksumIEEE(b)
		if t.copies[sum] {
			continue
		}
		if err := t.checkBackup(path, o, head); err != nil {
			return fmt.Errorf("a finished backup: %w", err)
		}
		t.copies[sum] = true
	}
	return nil
}

func (t *plTruth) checkBackup(path string, o Options, head Seq) error {
	rep, err := Check(context.Background(), path, nil)
	if err := errors.Join(err, rep.Err()); err != nil {
		return err
	}
	o.ReadOnly = true
	s, err := Open(path, o)
	if err != nil {
		return err
	}
	defer s.Close()
	events, err := plRead(s, All, s.Floor())
	if err != nil || s.Head() != head || s.LogID() != t.log || len(events) != int(head-s.Floor()) {
		return fmt.Errorf("log %s with %d events from %d to %d, want log %s to %d: %w", s.LogID(), len(events), s.Floor(), s.Head(), t.log, head, err)
	}
	for i := range events {
		if err := t.sameEvent(&events[i], &t.events[events[i].Seq-1]); err != nil {
			return err
		}
	}
	return t.sameDocs(s, t.docs[head])
}

// check looks at the image; every so often every invariant of the file is checked as well, after that work.
func (c *plImages) check(t *plTruth) error {
	path := filepath.Join(c.dir, plName)
	if err := t.check(path, c.o, c.r); err != nil {
		return err
	}
	if err := t.checkBackups(c.dir, c.o); err != nil {
		return err
	}
	if c.n++; c.n%32 != 0 {
		return nil
	}
	rep, err := Check(context.Background(), path, nil)
	return errors.Join(err, rep.Err())
}

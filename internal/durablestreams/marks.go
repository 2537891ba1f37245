package durablestreams

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"tidemark/store"
)

// marks is the view over the tagged sections: per stream and producer the newest mark. It is an overlay in memory above
// documents, which are written now and then together with a checkpoint, so that a start folds only what came after it.
type marks struct {
	log Log

	saving sync.Mutex // held by save, so that no document is followed by an older one

	mu      sync.Mutex
	overlay map[string]*overlaid // by markKey
	dirty   int                  // entries of overlay that are newer than their documents
	head    store.Seq            // everything up to here is folded
	saved   store.Seq            // the checkpoint
	free    store.Seq            // trimming may go so far: documents have all that was said up to there
	since   time.Time            // with dirty: when that began
	kept    bool                 // there is a checkpoint in the log
	used    bool                 // the log has something of this protocol, so a start without a checkpoint would be long
}

type overlaid struct {
	mark
	dirty bool
}

// Bounds of the view.
const (
	markLag    = 64 << 10        // events behind at which the checkpoint moves
	markDirty  = 8 << 10         // entries that wait for it
	markWait   = 5 * time.Second // how long they wait, so that trimming, which waits for them, is not held up for longer
	markKeep   = 4 << 10         // the same in events
	markMemory = 64 << 10        // entries kept in memory
	markPush   = 500             // entries written by one push
)

// markKey names an entry. Stream names hold no "*", so the parts cannot run into each other. The empty producer stands for
// the writers' own sequence.
func markKey(name store.Stream, producer string) string { return string(name) + "*" + producer }

// checkpointKey is the document that tells up to where the others reach.
const checkpointKey = "*"

type markCheckpoint struct {
	Through store.Seq `json:"through"`
}

// openMarks folds the log from the checkpoint on. Without one, and without a stream's document, no marks were ever written.
func openMarks(log Log) (*marks, error) {
	v := &marks{log: log, overlay: make(map[string]*overlaid)}
	doc, ok, err := log.Doc(producerStream, checkpointKey)
	if err != nil {
		return nil, err
	}
	log.KeepAfter(0)
	if !ok {
		used, err := log.Documents(store.Only(metaStream), store.DocKey{}, 1)
		if err != nil {
			return nil, err
		}
		if len(used.Docs) == 0 {
			v.head, v.saved = log.Head(), log.Head()
			v.letGo()
			return v, nil
		}
	} else {
		v.kept, v.used = true, true
		var c markCheckpoint
		if err := json.Unmarshal(doc.Data, &c); err != nil {
			return nil, err
		}
		v.saved, v.free = c.Through, c.Through
	}
	head := log.Head()
	for _, f := range []store.Filter{store.All, store.Only(metaStream)} {
		if err := v.catchUp(f, v.saved); err != nil {
			return nil, err
		}
	}
	v.head = max(v.head, head)
	v.letGo()
	return v, nil
}

// catchUp folds what the log still has; of what was trimmed, documents have what must be known.
func (v *marks) catchUp(f store.Filter, after store.Seq) error {
	for {
		page, err := v.log.Read(f, after, store.PageLimit{Bytes: 1 << 20})
		if trimmed, ok := errors.AsType[*store.TrimmedError](err); ok {
			after = trimmed.Floor
			continue
		}
		if err != nil {
			return err
		}
		v.fold(page.Events)
		if after = page.Through; !page.More {
			return nil
		}
	}
}

// fold takes over what the events say. It is called in log order and does no I/O.
func (v *marks) fold(events []store.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range events {
		e := &events[i]
		v.head = max(v.head, e.Seq)
		name := e.Stream
		if name == metaStream {
			v.used, name = true, store.Stream(e.Key)
		}
		if len(e.Extra) == 0 {
			continue
		}
		c, label := parseExtra(e.Extra)
		if c.id != "" {
			v.set(markKey(name, c.id), mark{Epoch: c.epoch, Seq: c.seq, At: e.Seq})
		}
		if label != "" {
			v.set(markKey(name, ""), mark{Label: label, At: e.Seq})
		}
	}
}

// letGo tells the log what may be trimmed: what documents know, and everything while nothing is dirty. It is called when all events
// up to v.head are folded.
func (v *marks) letGo() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dirty == 0 {
		v.free = v.head
	}
	v.log.KeepAfter(v.free)
}

func (v *marks) set(key string, m mark) {
	e := v.overlay[key]
	if e == nil {
		e = &overlaid{}
		v.overlay[key] = e
	}
	if e.At >= m.At {
		return
	}
	if !e.dirty {
		if e.dirty = true; v.dirty == 0 {
			v.since = time.Now()
		}
		v.dirty++
	}
	e.mark = m
}

// get returns the newest mark on disk of a producer on a stream whose life began at start.
func (v *marks) get(name store.Stream, producer string, start store.Seq) (mark, bool, error) {
	key := markKey(name, producer)
	v.mu.Lock()
	e := v.overlay[key]
	if e != nil {
		m := e.mark
		v.mu.Unlock()
		return m, m.At > start, nil
	}
	v.mu.Unlock()
	doc, ok, err := v.log.Doc(producerStream, key)
	if err != nil || !ok {
		return mark{}, false, err
	}
	var m mark
	if err := json.Unmarshal(doc.Data, &m); err != nil {
		return mark{}, false, err
	}
	return m, m.At > start, nil
}

// due reports whether the documents should be brought up to the overlay: they are far behind, or keep trimming waiting, or there
// are none at all.
func (v *marks) due(now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	waited := v.dirty > 0 && (v.head >= v.free+markKeep || now.Sub(v.since) >= markWait)
	return waited || v.dirty >= markDirty || v.used && (!v.kept || v.head >= v.saved+markLag)
}

// worth reports whether a start would be shorter with a new checkpoint.
func (v *marks) worth() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.dirty > 0 || v.used && v.head >= v.saved+markLag/16
}

// save writes the documents of what is dirty, then the checkpoint. Documents without their checkpoint do no harm: folding
// again what they contain changes nothing.
func (v *marks) save(ctx context.Context) error {
	v.saving.Lock()
	defer v.saving.Unlock()
	v.mu.Lock()
	through := v.head
	var batch []store.Mutation
	written := make(map[string]store.Seq)
	for key, e := range v.overlay {
		if e.dirty {
			batch = append(batch, document(producerStream, key, encode(e.mark)))
			written[key] = e.At
		}
	}
	behind := through > v.saved || !v.kept
	v.mu.Unlock()
	if !behind {
		return nil
	}
	batch = append(batch, document(producerStream, checkpointKey, encode(markCheckpoint{Through: through})))
	for len(batch) > 0 {
		n := min(len(batch), markPush)
		if err := appendAll(ctx, v.log, batch[:n]); err != nil {
			return err
		}
		batch = batch[n:]
	}
	v.written(through, written)
	v.letGo()
	return nil
}

// begin makes sure that the next start looks for marks: of a log with neither checkpoint nor a stream's document it would not.
func (v *marks) begin(ctx context.Context) error {
	v.mu.Lock()
	sure := v.kept || v.used
	v.mu.Unlock()
	if sure {
		return nil
	}
	return v.save(ctx)
}

// written takes over that documents have the marks of these keys, and all up to a seq.
func (v *marks) written(through store.Seq, marks map[string]store.Seq) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.saved, v.free, v.kept = through, through, true
	v.since = time.Now()
	for key, at := range marks {
		if e := v.overlay[key]; e != nil && e.dirty && e.At == at {
			e.dirty = false
			v.dirty--
		}
	}
	v.shrink()
}

// shrink forgets entries that their documents know as well.
func (v *marks) shrink() {
	for key, e := range v.overlay {
		if len(v.overlay) <= markMemory {
			return
		}
		if !e.dirty {
			delete(v.overlay, key)
		}
	}
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // only plain structs of this package come here
	}
	return data
}

// document is the mutation that puts a document.
func document(st store.Stream, key string, data []byte) store.Mutation {
	return store.Mutation{ID: store.NewID(), Stream: st, Op: store.OpPut, Key: key, Data: data}
}

// removal is the mutation that deletes a document.
func removal(st store.Stream, key string) store.Mutation {
	return store.Mutation{ID: store.NewID(), Stream: st, Op: store.OpDelete, Key: key}
}

// appendAll appends the mutations as one and waits until they are on disk.
func appendAll(ctx context.Context, log Log, list []store.Mutation) error {
	_, err := appendWait(ctx, log, &store.Push{Atomic: true, Mutations: list})
	return err
}

// appendWait appends a push and waits for its verdicts; the first refusal is an error.
func appendWait(ctx context.Context, log Log, p *store.Push) (last store.Seq, err error) {
	done := make(chan struct{})
	p.Done = func(*store.Push) { close(done) }
	if err := log.Append(ctx, p); err != nil {
		return 0, err
	}
	select {
	case <-done:
		return lastSeq(p)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// lastSeq returns the place of the push's last event, or why it has none.
func lastSeq(p *store.Push) (store.Seq, error) {
	for i := range p.Verdicts {
		if r := p.Verdicts[i].Refusal; r != nil {
			return 0, r
		}
	}
	return p.Verdicts[len(p.Verdicts)-1].Seq, nil
}

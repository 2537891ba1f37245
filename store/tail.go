package store

import "sort"

// tail holds the newest events in memory, bounded by bytes, in runs as they were committed. It is guarded by Store.mu.
// The runs themselves never change, so that readers may keep them after the lock is gone.
type tail struct {
	runs  []tailRun // ascending
	bytes int
	dead  int // bytes that were forgotten and are still in the array before runs
	limit int
}

type tailRun struct {
	events []Event
	bytes  int
	last   Seq // of its events: a search then looks at no run's events but those of the one that it finds
}

func newTailRun(events []Event, bytes int) tailRun {
	return tailRun{events, bytes, events[len(events)-1].Seq}
}

func (r tailRun) first() Seq { return r.events[0].Seq }

// eventOverhead is what an event costs in memory beside its record.
const eventOverhead = 192

// add appends a run and forgets the oldest ones beyond the limit; the newest run always stays.
func (t *tail) add(events []Event, bytes int) {
	t.runs = append(t.runs, newTailRun(events, bytes))
	t.bytes += bytes
	n := 0
	for over := t.bytes - t.limit; n < len(t.runs)-1 && over > 0; n++ {
		over -= t.runs[n].bytes
	}
	t.forget(n)
}

// forget drops the n oldest runs. A view may still look at them, so their slots stay as they are; what they hold is let go
// with the whole array, once it is an eighth of the limit.
func (t *tail) forget(n int) {
	for _, r := range t.runs[:n] {
		t.bytes -= r.bytes
		t.dead += r.bytes
	}
	if t.runs = t.runs[n:]; t.dead > t.limit/8 {
		t.runs = append(make([]tailRun, 0, len(t.runs)+len(t.runs)/4+1), t.runs...)
		t.dead = 0
	}
}

// dropTo forgets the runs that end at or below a seq.
func (t *tail) dropTo(seq Seq) {
	n := 0
	for n < len(t.runs) && t.runs[n].last <= seq {
		n++
	}
	t.forget(n)
}

// view returns the runs as they are now, for reading without the lock.
func (t *tail) view() tailView { return tailView{runs: t.runs} }

// tailView is an unchanging picture of the tail.
type tailView struct{ runs []tailRun }

// covers reports whether every event of the log from seq on is in the view.
func (v tailView) covers(seq Seq) bool { return len(v.runs) > 0 && seq >= v.runs[0].first() }

// find returns the run and index of the first event at or above seq.
func (v tailView) find(seq Seq) (run, i int) {
	run = sort.Search(len(v.runs), func(i int) bool { return v.runs[i].last >= seq })
	if run == len(v.runs) {
		return run, 0
	}
	es := v.runs[run].events
	if d := seq - es[0].Seq; seq >= es[0].Seq && d < Seq(len(es)) && es[d].Seq == seq {
		return run, int(d)
	}
	return run, sort.Search(len(es), func(i int) bool { return es[i].Seq >= seq })
}

// get returns the event at seq, or nil.
func (v tailView) get(seq Seq) *Event {
	run, i := v.find(seq)
	if run < len(v.runs) && v.runs[run].events[i].Seq == seq {
		return &v.runs[run].events[i]
	}
	return nil
}

// scan calls fn for each event from seq on, up to last, until it returns false.
func (v tailView) scan(from, last Seq, fn func(*Event) bool) {
	run, i := v.find(from)
	for ; run < len(v.runs); run, i = run+1, 0 {
		es := v.runs[run].events
		for ; i < len(es); i++ {
			if es[i].Seq > last || !fn(&es[i]) {
				return
			}
		}
	}
}

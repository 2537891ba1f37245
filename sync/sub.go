package sync

import "tidemark/store"

// sub is one subscription: a cursor, and what has to happen before it is a follower of its topic.
type sub struct {
	session *Session // nil only in tests of the machine alone
	id      uint64
	filter  store.Filter
	from    From
	phase   subPhase
	live    bool
	gone    bool
	queued  bool // in the machine's list of those who have something to do
	calling bool // in the list of those who have presence to tell
	carrier bool // hears signals and presence for its connection: the oldest one of its stream
	topic   *topic
	cursor  store.Seq // everything of the filter up to here was handed out
	goal    store.Seq // live is said when everything up to here was
	opening *Subscribe
	snap    *snapshot
	next    *sub // in the list of those who have something to do
	waiter  waiter

	// Presence; seat and rests are guarded by topic.mu.
	told     told
	seat     int  // 1 + index in topic.seats
	rests    bool // was told everything: to be called at the next change
	nextCall *sub
}

// subPhase is what a subscription does next.
type subPhase uint8

const (
	subOpening   subPhase = iota // has to learn where it stands
	subLost                      // the log no longer has what comes next: has to learn where it stands
	subSnapshot                  // reads documents
	subFollowing                 // reads events
)

// snapshot is the state of reading the documents of a subscription.
type snapshot struct {
	seq     store.Seq
	after   store.DocKey
	release func() // lets trimming go on; nil: it was not held
}

func (s *sub) endSnapshot() {
	if s.snap != nil && s.snap.release != nil {
		s.snap.release()
	}
	s.snap = nil
}

// begin goes to where a subscription without a usable cursor starts.
func (s *sub) begin(from From, st store.Standing) {
	s.endSnapshot()
	s.live = false
	s.goal = max(s.goal, st.Head)
	s.phase = subFollowing
	switch from {
	case FromSnapshot:
		s.phase = subSnapshot
		s.snap = &snapshot{seq: st.LogHead}
		s.goal = max(s.goal, st.LogHead)
	case FromStart:
		s.cursor = st.Floor
	case FromNow:
		s.cursor = st.LogHead
	}
}

// resume takes up a cursor that can go on.
func (s *sub) resume(at store.Seq, st store.Standing) {
	s.phase = subFollowing
	s.cursor = at
	s.goal = max(at, st.Head)
	if st.Head <= at { // nothing of it lies between (see Reader.Resume)
		s.cursor = max(at, st.LogHead)
	}
}

// behind reports whether there is something to read.
func (s *sub) behind() bool {
	return s.topic.news() > s.cursor || (!s.live && s.cursor < s.goal)
}

// busy reports whether the subscription has something to do but wait for the next event.
func (s *sub) busy() bool { return s.phase != subFollowing || !s.live || s.behind() }

// reach is up to where everything of the subscription was handed out. head must have been loaded before: what the log has
// up to there is known to the topics.
func (s *sub) reach(head store.Seq) store.Seq {
	if s.phase == subFollowing && s.topic.news() <= s.cursor {
		return max(s.cursor, head)
	}
	return s.cursor
}

// since is the cursor that subscribed repeats.
func (r *Subscribe) since(st store.Standing) store.Seq {
	switch {
	case r.Resume:
		return r.Cursor.Seq
	case r.From == FromStart:
		return st.Floor
	case r.From == FromNow:
		return st.LogHead
	}
	return 0
}

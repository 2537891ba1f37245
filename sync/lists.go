package sync

// subList is a queue of subscriptions that have something to do; each is in it once. callList is the same for those that
// have presence to tell.
type subList struct{ first, last *sub }

func (l *subList) push(s *sub) {
	if s.queued {
		return
	}
	s.queued, s.next = true, nil
	if l.first == nil {
		l.first = s
	} else {
		l.last.next = s
	}
	l.last = s
}

// unpop puts one back to the front.
func (l *subList) unpop(s *sub) {
	if s.queued {
		return
	}
	s.queued, s.next = true, l.first
	if l.first == nil {
		l.last = s
	}
	l.first = s
}

func (l *subList) pop() *sub {
	s := l.first
	if s == nil {
		return nil
	}
	l.first = s.next
	if l.first == nil {
		l.last = nil
	}
	s.queued, s.next = false, nil
	return s
}

type callList struct{ first, last *sub }

func (l *callList) push(s *sub) {
	if s.calling {
		return
	}
	s.calling, s.nextCall = true, nil
	if l.first == nil {
		l.first = s
	} else {
		l.last.nextCall = s
	}
	l.last = s
}

func (l *callList) pop() *sub {
	s := l.first
	if s == nil {
		return nil
	}
	l.first = s.nextCall
	if l.first == nil {
		l.last = nil
	}
	s.calling, s.nextCall = false, nil
	return s
}

// fifo is a queue in one slice. A small one is kept when it runs empty, a large one is not.
type fifo[T any] struct {
	items []T
	first int
}

const fifoKept = 8

func (q *fifo[T]) len() int { return len(q.items) - q.first }

func (q *fifo[T]) at(i int) *T { return &q.items[q.first+i] }

func (q *fifo[T]) push(v T) {
	if q.first > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.first:])
		clear(q.items[n:])
		q.items, q.first = q.items[:n], 0
	}
	q.items = append(q.items, v)
}

func (q *fifo[T]) pop() T {
	var none T
	v := q.items[q.first]
	q.items[q.first] = none
	if q.first++; q.first < len(q.items) {
		return v
	}
	q.first = 0
	if q.items = q.items[:0]; cap(q.items) > fifoKept {
		q.items = nil
	}
	return v
}

// cut removes one from the middle.
func (q *fifo[T]) cut(i int) {
	var none T
	i += q.first
	copy(q.items[i:], q.items[i+1:])
	q.items[len(q.items)-1] = none
	q.items = q.items[:len(q.items)-1]
}

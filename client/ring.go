package client

// ring is a queue that takes at both ends without moving what is in it.
type ring[T any] struct {
	buf  []T // its length is a power of two
	head int
	n    int
}

func (r *ring[T]) len() int { return r.n }

func (r *ring[T]) at(i int) T { return r.buf[(r.head+i)&(len(r.buf)-1)] }

// push adds v at the end.
func (r *ring[T]) push(v T) {
	r.room()
	r.buf[(r.head+r.n)&(len(r.buf)-1)] = v
	r.n++
}

// unpop adds v at the front.
func (r *ring[T]) unpop(v T) {
	r.room()
	r.head = (r.head - 1) & (len(r.buf) - 1)
	r.buf[r.head] = v
	r.n++
}

// pop takes from the front.
func (r *ring[T]) pop() T {
	var zero T
	v := r.buf[r.head]
	r.buf[r.head] = zero
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.n--
	return v
}

func (r *ring[T]) room() {
	if r.n < len(r.buf) {
		return
	}
	next := make([]T, max(8, 2*len(r.buf)))
	for i := range r.n {
		next[i] = r.at(i)
	}
	r.buf, r.head = next, 0
}

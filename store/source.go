package store

// Source is an ordered origin of pushes, such as one connection. It remembers a refusal that said "later", so that the
// writes of one origin never overtake each other: until the mutation refused first is sent again at the front of a push,
// every later one gets the same code. Its zero value is ready. It belongs to the store's writer; callers only pass it on.
type Source struct {
	blocked Code // "": not blocked
	first   ID   // the mutation refused first
}

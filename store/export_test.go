package store

import "time"

// ForContract opens a store as the contract suite of store/storetest wants it: with its clock, and so that a few hundred
// events already take several slices of the views.
func ForContract(path string, l Limits, now func() time.Time) (*Store, error) {
	o := checkOptions()
	o.Limits, o.now = l, now
	return Open(path, o)
}

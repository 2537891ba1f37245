package store

import (
	"testing"
	"time"
)

// ForContract opens a store as the contract suite of store/storetest wants it: with its clock, and so that a few hundred
// events already take several slices of the views.
func ForContract(path string, l Limits, now func() time.Time) (*Store, error) {
	o := checkOptions()
	o.Limits, o.now = l, now
	return Open(path, o)
}

// MemoryDir is memoryDir for tests outside of the package.
func MemoryDir(t testing.TB) string { return memoryDir(t) }

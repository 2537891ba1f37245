// Package storetest is the contract that every log backend keeps: one suite of tests, run by the tests of each backend.
//
//	func TestContract(t *testing.T) {
//		storetest.Run(t, storetest.Backend{Open: func(dir string, l store.Limits, now func() time.Time) (storetest.Log, error) {
//			return mybackend.Open(dir, l, now)
//		}})
//	}
//
// A backend that passes can stand behind package sync.
//
// # What it asks
//
//   - append: places, times and links; duplicates, ids that are used again; every refusal of a single mutation; what "later" holds up.
//   - expect: by seq and by id, of a key and of a stream, within a push, of another log; the document of a conflict.
//   - atomic: all or none, contiguous, also with duplicates in it; pages do not cut it.
//   - read: every filter from every cursor, page by page, with the chain checked; below the floor.
//   - documents: put, patch, delete; pages of them; as of any seq that the log still holds, before and after trimming.
//   - resume: each reason for a reset, in its order.
//
// Many tests make their checks twice, on the log as it is and on the log closed and opened again: what was answered is on disk.
//
// # What a backend must bring
//
// Open opens the log in a folder, or creates it there, with the limits and the clock that it is given; closing and opening the
// same folder brings everything back, the log id included. The suite's limits are small, so that they are met. Where a backend has
// thresholds of its own (slices, caches, merges), its Open should make them small, so that a few hundred events reach them.
//
// # Caveats
//
// What only one backend promises (files, flushes, failures of the disk, how much memory it takes) is tested where it is. But
// for one test of many writers the suite is one client at a time: what concurrency may do is asked by the random tests of package sync.
package storetest

package store_test

import (
	"path/filepath"
	"testing"
	"time"

	"tidemark/store"
	"tidemark/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, storetest.Backend{Dir: store.MemoryDir, Open: func(dir string, l store.Limits, now func() time.Time) (storetest.Log, error) {
		return store.ForContract(filepath.Join(dir, "a.tidemark"), l, now)
	}})
}

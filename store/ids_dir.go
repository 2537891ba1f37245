package store

import (
	"crypto/rand"
	"encoding/binary"
	"hash/crc32"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// idDir is the list of live runs: one value with its own checksum, so that no run can be lost from it unnoticed.
type idDir struct {
	seed    [2]uint64
	next    uint64 // number of the next run
	through Seq
	runs    []*idRun // in the order of their oldest events
}

const (
	idDirVersion = 1
	idDirHead    = 1 + 16 + 8 + 8 + 4
	idDirRun     = 8 + 8 + 16 + 16 + 8 + 8 + 4 + 8
)

var idDirKey = []byte("dir")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newIDDir() idDir {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return idDir{seed: [2]uint64{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}, next: 1}
}

func (d idDir) append(b []byte) []byte {
	be := binary.BigEndian
	start := len(b)
	b = append(b, idDirVersion)
	b = be.AppendUint64(b, d.seed[0])
	b = be.AppendUint64(b, d.seed[1])
	b = be.AppendUint64(b, d.next)
	b = be.AppendUint64(b, uint64(d.through))
	b = be.AppendUint32(b, uint32(len(d.runs)))
	for _, r := range d.runs {
		b = be.AppendUint64(b, r.id)
		b = be.AppendUint64(b, r.count)
		b = append(b, r.min[:]...)
		b = append(b, r.max[:]...)
		b = be.AppendUint64(b, uint64(r.minSeq))
		b = be.AppendUint64(b, uint64(r.maxSeq))
		b = be.AppendUint32(b, r.blocks)
		b = be.AppendUint64(b, r.filter.blocks)
	}
	return be.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

func parseIDDir(b []byte) (d idDir, err error) {
	be := binary.BigEndian
	if len(b) < idDirHead+4 {
		return d, corruptIDs("directory: %d bytes", len(b))
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != be.Uint32(b[len(body):]) {
		return d, corruptIDs("directory: checksum does not match")
	}
	if b[0] != idDirVersion {
		return d, corruptIDs("directory: version %d is unknown", b[0])
	}
	d.seed = [2]uint64{be.Uint64(b[1:]), be.Uint64(b[9:])}
	d.next, d.through = be.Uint64(b[17:]), Seq(be.Uint64(b[25:]))
	n := int(be.Uint32(b[33:]))
	body = body[idDirHead:]
	if len(body) != n*idDirRun {
		return d, corruptIDs("directory: %d bytes for %d runs", len(body), n)
	}
	for ; n > 0; n-- {
		r, err := parseDirRun(body[:idDirRun])
		if err != nil {
			return d, err
		}
		d.runs, body = append(d.runs, r), body[idDirRun:]
	}
	return d, nil
}

func parseDirRun(b []byte) (*idRun, error) {
	be := binary.BigEndian
	r := &idRun{
		id: be.Uint64(b), count: be.Uint64(b[8:]), min: ID(b[16:32]), max: ID(b[32:48]),
		minSeq: Seq(be.Uint64(b[48:])), maxSeq: Seq(be.Uint64(b[56:])), blocks: be.Uint32(b[64:]),
	}
	n := be.Uint64(b[68:])
	if n == 0 || n > 1<<32 || r.count == 0 {
		return nil, corruptIDs("directory: run %d of %d ids with a filter of %d blocks", r.id, r.count, n)
	}
	r.filter.init(n)
	return r, nil
}

func getIDDir(tx *bolt.Tx) (idDir, error) {
	b, err := idsBucket(tx)
	if err != nil {
		return idDir{}, err
	}
	return parseIDDir(b.Get(idDirKey))
}

func (d idDir) put(tx *bolt.Tx) error {
	b, err := idsBucket(tx)
	if err != nil {
		return err
	}
	return b.Put(idDirKey, d.append(nil))
}

// strayRuns lists what merges left behind: runs that are in the bucket and not in the directory.
func strayRuns(tx *bolt.Tx, d idDir) (stray []uint64, err error) {
	b, err := idsBucket(tx)
	if err != nil {
		return nil, err
	}
	live := map[uint64]bool{}
	for _, r := range d.runs {
		live[r.id] = true
	}
	found := 0
	c := b.Cursor()
	for k, _ := c.Seek(runPrefix); len(k) == len(runPrefix)+8; k, _ = c.Next() {
		id := binary.BigEndian.Uint64(k[len(runPrefix):])
		if live[id] {
			found++
		} else {
			stray = append(stray, id)
		}
	}
	if found != len(d.runs) {
		return nil, corruptIDs("%d of the directory's %d runs are missing", len(d.runs)-found, len(d.runs))
	}
	return slices.Clip(stray), nil
}

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
)

// create makes a store at path in one transaction. It returns fs.ErrExist when there is a file already.
func create(path string, o Options, fill func(*bolt.Tx) error) error {
	return build(path, o, func(db *bolt.DB) error { return db.Update(fill) }, nil)
}

// build makes a file in as many transactions as fill likes. It appears under its name only when it is complete, verified
// and on disk, so that a crash in the middle leaves no half-made store. It returns fs.ErrExist when there is a file already.
func build(path string, o Options, fill func(*bolt.DB) error, verify func(tmp string) error) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("store: create %s: %w", path, fs.ErrExist)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return fmt.Errorf("store: create: %w", err)
	}
	name := tmp.Name()
	defer func() {
		if e := os.Remove(name); e != nil && !errors.Is(e, fs.ErrNotExist) && err == nil {
			err = e
		}
	}()
	if err := tmp.Close(); err != nil {
		return err
	}
	// Nobody reads the file before it has its name: one sync at the end is enough.
	db, err := bolt.Open(name, 0o600, &bolt.Options{
		Timeout: time.Second, FreelistType: bolt.FreelistMapType, PageSize: o.pageSize, InitialMmapSize: o.mmapSize,
		NoSync: true, NoGrowSync: true, NoStatistics: true,
	})
	if err != nil {
		return fmt.Errorf("store: create: %w", err)
	}
	if err := errors.Join(guard(func() error { return fill(db) }), db.Sync(), db.Close()); err != nil {
		return fmt.Errorf("store: create: %w", err)
	}
	if verify != nil {
		if err := verify(name); err != nil {
			return err
		}
	}
	if err := linkNew(name, path); err != nil {
		return err
	}
	return syncDir(path)
}

// linkNew gives the finished file its name, never replacing another.
func linkNew(tmp, path string) error {
	err := os.Link(tmp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// No hard links here: a rename would replace, so look first. Two first starts at once are caught by the file lock.
	if _, e := os.Lstat(path); e == nil {
		return fs.ErrExist
	}
	return os.Rename(tmp, path)
}

// syncDir makes the name of path durable.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openOwned is the OpenFile hook of a store that owns its file: it locks the very descriptor that bbolt will use, then brings
// the file to its last whole commit and makes that durable: whatever this process is about to believe must be on the disk first
// (docs/storage.md, "Recovery").
func openOwned(path string, flag int, mode os.FileMode, recover func(*os.File) error) (*os.File, error) {
	f, err := os.OpenFile(path, flag&^os.O_CREATE|syscall.O_NOFOLLOW, mode)
	if err != nil {
		if errors.Is(err, syscall.ELOOP) {
			return nil, fmt.Errorf("store: %s is a symbolic link; name the file itself", path)
		}
		return nil, err
	}
	if err := lockFile(f, path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := recover(f); err != nil {
		return nil, errors.Join(fmt.Errorf("store: recovery of the last commit: %w", err), f.Close())
	}
	return f, syncDir(path)
}

// lockFile takes the lock for this process, or says who holds it.
func lockFile(f *os.File, path string) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case err == nil:
		err = os.WriteFile(path+".pid", []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600)
		if noSpace(err) { // the name of the process is for a message only: a full disk must not keep the store from reading
			err = nil
		}
		return err
	case errors.Is(err, syscall.EWOULDBLOCK):
		return fmt.Errorf("%w: %s is open in %s", ErrLocked, path, holder(path))
	}
	return fmt.Errorf("store: lock %s: %w", path, err)
}

// forgetHolder takes the name of the process away that no longer has the file open. There may have been no room for it.
func forgetHolder(path string) error {
	if err := os.Remove(path + ".pid"); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func holder(path string) string {
	b, err := os.ReadFile(path + ".pid")
	if pid := strings.TrimSpace(string(b)); err == nil && pid != "" {
		return "process " + pid
	}
	return "another process"
}

// Recover makes what a file holds durable, as every Open does first, and closes it again: for a look at a file after a
// failure, by Check in another process, before it is served again.
func Recover(path string) error {
	f, err := openOwned(path, os.O_RDWR, 0o600, recoverMetas)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), forgetHolder(path))
}

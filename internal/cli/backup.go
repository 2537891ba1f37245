package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"tidemark/store"
)

type backupCmd struct {
	Data string `default:"data.tidemark" help:"Data file to copy. A server may be running on it." type:"path"`
	To   string `arg:"" help:"File to make." type:"path"`
}

// Run has the running server make the copy, or makes it when none is running. The copy is verified before it gets its name.
func (c *backupCmd) Run(ctx context.Context, sys *system) error {
	to, err := filepath.Abs(c.To)
	if err != nil {
		return err
	}
	p := sys.progress("backup")
	info, err := askBackup(ctx, c.Data, to, p.show)
	if errors.Is(err, errNoServer) {
		info, err = backupFile(ctx, sys, c.Data, to, p.show)
	}
	p.done()
	if err != nil {
		return err
	}
	fmt.Fprintf(sys.out, "%s: log %s  head %d  id of head %s\n", c.To, info.Log, info.Head, info.HeadID)
	fmt.Fprintf(sys.out, "  %d events, verified, in %.1fs\n", info.Events, info.Took.Seconds())
	return nil
}

// backupFile copies a file that no server has open. It never writes to it.
func backupFile(ctx context.Context, sys *system, data, to string, show func(done, total int64)) (store.BackupInfo, error) {
	db, err := store.Open(data, store.Options{ReadOnly: true, Verify: sys.verify})
	if err != nil {
		return store.BackupInfo{}, err
	}
	info, err := db.Backup(ctx, to, show)
	return info, errors.Join(err, db.Close())
}

// verify checks a file in a process of its own.
func (sys *system) verify(ctx context.Context, path string) error {
	quiet := &system{}
	report, err := checkFile(ctx, quiet, path)
	if err != nil {
		return err
	}
	return report.Err()
}

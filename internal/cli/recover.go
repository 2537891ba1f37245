package cli

import (
	"context"
	"fmt"
	"log/slog"

	"tidemark/store"
)

// recoverFile is what stands between a failure of the disk and the next start: what the file holds is made durable, then all
// of it is verified in a process of its own. A file that is not sound is not served.
func recoverFile(ctx context.Context, sys *system, data string, log *slog.Logger) error {
	marker, err := store.FailureMarker(data)
	if err != nil || marker == "" {
		return err
	}
	log.Info("the server stopped after a failure of the disk; verifying the file before it is served", "marker", marker)
	if err := store.Recover(data); err != nil {
		return err
	}
	report, err := checkFile(ctx, sys, data)
	if err != nil {
		return err
	}
	if err := report.Err(); err != nil {
		return fmt.Errorf("%s did not survive the failure of the disk: %w; restore a backup, or look at it with: tidemark check %s", data, err, data)
	}
	log.Info("the file is sound", "head", report.Head)
	return nil
}

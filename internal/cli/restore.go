package cli

import (
	"context"
	"fmt"

	"tidemark/store"
)

type restoreCmd struct {
	From  string `arg:"" help:"Backup, or any data file that no server is running on." type:"existingfile"`
	To    string `arg:"" help:"Data file to make." type:"path"`
	ToSeq string `help:"Cut the log after this seq. Default: all of it." placeholder:"SEQ"`
}

// Run makes a new log out of the old one. Clients whose cursor is not above the cut go on; the others are reset.
func (c *restoreCmd) Run(ctx context.Context, sys *system) error {
	var cut store.Seq
	if c.ToSeq != "" {
		var err error
		if cut, err = store.ParseSeq(c.ToSeq); err != nil || cut == 0 {
			return usagef("--to-seq %q is not a seq above 0", c.ToSeq)
		}
	}
	p := sys.progress("restore")
	info, err := store.Restore(ctx, c.From, c.To, cut, p.show)
	p.done()
	if err != nil {
		return err
	}
	fmt.Fprintf(sys.out, "%s: log %s  head %d  id of head %s\n", c.To, info.Log, info.Cut, info.HeadID)
	fmt.Fprintf(sys.out, "  %d events of log %s, in %.1fs\n", info.Events, info.From, info.Took.Seconds())
	if info.DroppedTo > info.Cut {
		fmt.Fprintf(sys.out, "  left out: what came after %d, up to %d\n", info.Cut, info.DroppedTo)
	}
	return nil
}

package cli

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/client"
)

// TestPushIsPatientWhileAnswersCome: the timeout is the time without an answer, not that of all the answers together.
func TestPushIsPatientWhileAnswersCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pushResults{out: bufio.NewWriter(io.Discard), patience: 30 * time.Second}
		answers := func(n int) {
			for range n {
				time.Sleep(20 * time.Second)
				p.print(client.Result{Seq: 1})
			}
		}
		waitFor := func(answered chan struct{}) error {
			return p.patiently(t.Context(), func(ctx context.Context) error {
				select {
				case <-answered:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		}
		all := make(chan struct{})
		go func() {
			answers(10)
			close(all)
		}()
		if err := waitFor(all); err != nil {
			t.Errorf("with an answer every 20 s: %v", err)
		}
		began := time.Now()
		go answers(1)
		err := waitFor(nil)
		if d := time.Since(began); d != 50*time.Second || err == nil || !strings.Contains(err.Error(), "no answer within 30s") {
			t.Errorf("given up after %v, want 30 s after the last answer: %v", d, err)
		}
	})
}

package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroup is a memory control group that one server runs in. The page cache of what the server reads and writes counts in it,
// too, and is given back when the limit is reached; only when nothing can be given back, the kernel kills. Methods of a nil
// cgroup do nothing.
type cgroup struct {
	path  string
	names cgroupNames
}

// cgroupNames are the files of a version of the interface.
type cgroupNames struct{ limit, swap, peak, events string }

var (
	cgroupV1 = cgroupNames{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"}
	cgroupV2 = cgroupNames{"memory.max", "memory.swap.max", "memory.peak", "memory.events"}
)

var errNoGroup = errors.New("bench: --memory needs the memory control groups of Linux, and root to make one")

// newCgroup makes a control group with a limit in bytes and without swap: below the group of this process (v1), or beside it
// (v2, where a group that has processes may not have groups), so that whatever limits this process has hold for the server, too.
func newCgroup(limit int64) (*cgroup, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoGroup, err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoGroup, err)
	}
	parent, names, err := cgroupParent(string(mounts), string(own))
	if err != nil {
		return nil, err
	}
	g := &cgroup{filepath.Join(parent, fmt.Sprintf("tidemark-bench-%d-%d", os.Getpid(), time.Now().UnixNano())), names}
	if err := os.Mkdir(g.path, 0o755); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoGroup, err)
	}
	if err := g.limitTo(limit); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errNoGroup, err), g.remove())
	}
	return g, nil
}

// cgroupParent finds where the group is to be made, from /proc/self/mountinfo and /proc/self/cgroup.
func cgroupParent(mounts, own string) (string, cgroupNames, error) {
	v1, v2 := "", ""
	for line := range strings.Lines(mounts) {
		before, after, _ := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if len(f) < 5 || len(g) < 3 {
			continue
		}
		switch {
		case g[0] == "cgroup" && hasWord(g[2], "memory"):
			v1 = f[4]
		case g[0] == "cgroup2":
			v2 = f[4]
		}
	}
	for line := range strings.Lines(own) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(f) < 3:
		case v1 != "" && hasWord(f[1], "memory"):
			return filepath.Join(v1, f[2]), cgroupV1, nil
		case v1 == "" && v2 != "" && f[0] == "0":
			return filepath.Join(v2, filepath.Dir(f[2])), cgroupV2, nil
		}
	}
	return "", cgroupNames{}, fmt.Errorf("%w: none are mounted", errNoGroup)
}

func hasWord(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if w == word {
			return true
		}
	}
	return false
}

func (g *cgroup) limitTo(limit int64) error {
	if g.names == cgroupV2 {
		// Fails where the parent hands memory out already and is not ours to change; then the limit tells.
		_ = os.WriteFile(filepath.Join(filepath.Dir(g.path), "cgroup.subtree_control"), []byte("+memory"), 0)
	}
	if err := g.write(g.names.limit, strconv.FormatInt(limit, 10)); err != nil {
		return err
	}
	swap := "0" // v2 counts swap alone, v1 memory and swap together
	if g.names == cgroupV1 {
		swap = strconv.FormatInt(limit, 10)
	}
	if err := g.write(g.names.swap, swap); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err // where it does not exist, the kernel does not limit swap, or has none
	}
	return nil
}

func (g *cgroup) write(name, value string) error {
	f, err := os.OpenFile(filepath.Join(g.path, name), os.O_WRONLY, 0) // never made: the kernel has it or not
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// prefix is a command that puts itself into the group and becomes what follows, so that not a page is charged elsewhere.
func (g *cgroup) prefix() []string {
	return []string{"/bin/sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(g.path, "cgroup.procs")}
}

// peak returns the largest usage so far in bytes, page cache included; 0 where the kernel does not tell.
func (g *cgroup) peak() int64 {
	b, err := os.ReadFile(filepath.Join(g.path, g.names.peak))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// kills returns how often the kernel has killed for want of memory.
func (g *cgroup) kills() int64 {
	b, err := os.ReadFile(filepath.Join(g.path, g.names.events))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "oom_kill" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}

func (g *cgroup) figures() []Figure {
	return []Figure{{"control group peak", float64(g.peak()) / 1e6, "MB"}, {"killed for want of memory", float64(g.kills()), "times"}}
}

// verdict says why a server that ended may have ended.
func (g *cgroup) verdict() string {
	if g == nil || g.kills() == 0 {
		return ""
	}
	return fmt.Sprintf(", killed by the kernel at the limit of --memory (peak %d MB)", g.peak()/1e6)
}

// remove removes the group, whose process has ended; the kernel may need a moment to see that.
func (g *cgroup) remove() error {
	if g == nil {
		return nil
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := os.Remove(g.path)
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}

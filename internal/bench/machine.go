package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// machine describes where figures were measured, in one line: processor, cores, memory, kernel, the file system of dir.
func machine(dir string) string {
	cpu := keyValue("/proc/cpuinfo", "model name")
	if cpu == "" {
		cpu = runtime.GOARCH
	}
	memory := "memory unknown"
	if kb, err := strconv.ParseInt(strings.TrimSuffix(keyValue("/proc/meminfo", "MemTotal"), " kB"), 10, 64); err == nil {
		memory = fmt.Sprintf("%.1f GiB", float64(kb)/(1<<20))
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = nil
	}
	return fmt.Sprintf("%d cores (%s), %s, %s %s, %s, %s", runtime.NumCPU(), cpu, memory, runtime.GOOS,
		strings.TrimSpace(string(kernel)), fileSystem(dir), runtime.Version())
}

// keyValue returns the first value of a key in a file of "key: value" lines, "" if there is none.
func keyValue(path, key string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// fileSystem returns the type of the mount that a folder is on.
func fileSystem(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "file system unknown"
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "file system unknown"
	}
	best, kind := "", "file system unknown"
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if len(f) < 5 || len(g) < 1 {
			continue
		}
		within := f[4] == "/" || dir == f[4] || strings.HasPrefix(dir, f[4]+"/")
		if within && len(f[4]) >= len(best) {
			best, kind = f[4], g[0]
		}
	}
	return kind
}

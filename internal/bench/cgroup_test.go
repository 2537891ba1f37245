package bench

import (
	"errors"
	"testing"
)

func TestCgroupParent(t *testing.T) {
	const (
		root   = "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
		mount1 = "30 22 0:26 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
		cpu1   = "31 22 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
		mount2 = "29 22 0:25 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
	)
	for _, c := range []struct {
		what, mounts, own, want string
		names                   cgroupNames
	}{
		{"v1", root + cpu1 + mount1, "5:cpu:/a\n4:memory:/job/7\n0::/\n", "/sys/fs/cgroup/memory/job/7", cgroupV1},
		{"v1 with v2 beside it", root + mount2 + mount1, "4:memory:/\n0::/x\n", "/sys/fs/cgroup/memory", cgroupV1},
		{"v2", root + mount2, "0::/user.slice/session-1.scope\n", "/sys/fs/cgroup/user.slice", cgroupV2},
		{"v2 in a container", root + mount2, "0::/\n", "/sys/fs/cgroup", cgroupV2},
	} {
		got, names, err := cgroupParent(c.mounts, c.own)
		if got != c.want || names != c.names || err != nil {
			t.Errorf("%s: %q %v %v", c.what, got, names, err)
		}
	}
	if _, _, err := cgroupParent(root+cpu1, "5:cpu:/\n"); !errors.Is(err, errNoGroup) {
		t.Errorf("without memory groups: %v", err)
	}
}

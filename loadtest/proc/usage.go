package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is USER_HZ, which is 100 on every Linux that Go runs on (proc(5)).
const ticksPerSecond = 100

// Usage is what a group of processes has used.
type Usage struct {
	CPU      time.Duration // user and system, of all threads, since each process began
	Resident int64         // bytes
	Threads  int
}

// Usage reads /proc/PID/stat of every live process of the group.
func (p *Process) Usage() (Usage, error) {
	return usage(func(s stat) bool { return s.group == p.PID() })
}

// Self is what this process has used.
func Self() (Usage, error) {
	pid := os.Getpid()
	return usage(func(s stat) bool { return s.pid == pid })
}

// Sum adds up the usage of several groups.
func Sum(all ...*Process) (Usage, error) {
	groups := make(map[int]bool, len(all))
	for _, p := range all {
		groups[p.PID()] = true
	}
	return usage(func(s stat) bool { return groups[s.group] })
}

func usage(of func(stat) bool) (Usage, error) {
	var u Usage
	found := false
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return u, fmt.Errorf("read usage: %w", err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		s, err := parse(string(data))
		if err != nil {
			return u, err
		}
		if of(s) && !s.zombie {
			found = true
			u.CPU += time.Duration(s.ticks) * (time.Second / ticksPerSecond)
			u.Resident += s.pages * int64(os.Getpagesize())
			u.Threads += s.threads
		}
	}
	if !found {
		return u, fmt.Errorf("read usage: no such process")
	}
	return u, nil
}

// stat is what is used of one line of /proc/PID/stat.
type stat struct {
	pid, group, threads int
	zombie              bool // ended, and not waited for
	ticks, pages        int64
}

// parse reads the fields behind the command, which is in brackets and may hold anything.
func parse(line string) (stat, error) {
	bad := fmt.Errorf("read usage: /proc stat has another form: %q", line)
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 1 || end < open {
		return stat{}, bad
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line[:open]))
	if err != nil {
		return stat{}, bad
	}
	f := strings.Fields(line[end+1:]) // f[0] is field 3, the state
	const need = 22
	if len(f) < need {
		return stat{}, bad
	}
	var n [5]int64
	for i, at := range [5]int{2, 11, 12, 17, 21} { // pgrp, utime, stime, num_threads, rss
		if n[i], err = strconv.ParseInt(f[at], 10, 64); err != nil {
			return stat{}, bad
		}
	}
	return stat{zombie: f[0] == "Z", pid: pid, group: int(n[0]), ticks: n[1] + n[2], threads: int(n[3]), pages: n[4]}, nil
}

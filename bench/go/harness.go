package main

// Clocks, reports and helpers: the twin of bench.h and harness.c.

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

type stopwatch struct {
	started  time.Time
	cpuStart time.Duration

	wall, cpu time.Duration // once stopped
}

func cpuNow() time.Duration {
	var u syscall.Rusage
	expect(syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil, "getrusage")
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// The elapsed time is read innermost: reading the other is not part of it.
func startStopwatch() (w stopwatch) {
	w.cpuStart = cpuNow()
	w.started = time.Now()
	return w
}

func (w *stopwatch) stop() {
	w.wall = time.Since(w.started)
	w.cpu = cpuNow() - w.cpuStart
}

func report(name string, w *stopwatch, divisor float64, unit string) {
	fmt.Printf("%s %.3f %s\n", name, float64(w.wall)/divisor, unit)
	fmt.Printf("%s.cpu %.3f %s\n", name, float64(w.cpu)/divisor, unit)
}

func reportWhole(name string, w *stopwatch) {
	report(name, w, float64(time.Millisecond), "ms")
}

func reportValue(name string, value float64, unit string) {
	fmt.Printf("%s %.1f %s\n", name, value, unit)
}

func reportBytes(name string, bytes float64) {
	reportValue(name, bytes, "bytes")
}

// Do a tenth of the work to warm up, then all n operations of it, measured; report the time of
// each.
func measureEach(name string, work func(n int), n int) {
	work(n / 10)
	w := startStopwatch()
	work(n)
	w.stop()
	report(name, &w, float64(n), "ns")
}

// Warm up with work(warm), measure work(n), report its time as a whole.
func measureWhole(name string, work func(n int), warm, n int) {
	work(warm)
	w := startStopwatch()
	work(n)
	w.stop()
	reportWhole(name, &w)
}

// A line of /proc/self/status, in bytes.
func memoryOf(what string) float64 {
	bytes := -1.0
	f, err := os.Open("/proc/self/status")
	expect(err == nil, "/proc/self/status")
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), what+":"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			expect(err == nil, what)
			bytes = kib * 1024
		}
	}
	expect(bytes >= 0, what)
	return bytes
}

func fail(what string) {
	fmt.Fprintf(os.Stderr, "bench: failed: %s\n", what)
	os.Exit(1)
}

// A benchmark whose result is wrong measures nothing.
func expect(right bool, what string) {
	if !right {
		fail(what)
	}
}

// n goroutines, each fn(), counted by group.
func goMany(group *sync.WaitGroup, n int, fn func()) {
	for i := 0; i < n; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			fn()
		}()
	}
}

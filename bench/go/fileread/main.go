// Command fileread reads blocks of a file at random places, by 64 goroutines: the twin of
// bench/file/gort.c.
//
//	gofileread FILE          GOMAXPROCS sets the processors
package main

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	depth  = 64
	block  = 4096
	warmUp = 500 * time.Millisecond
	length = 2 * time.Second
)

type reader struct { // a cache line of its own
	reads atomic.Uint64
	seed  uint64
	_     [48]byte
}

var (
	readers [depth]reader
	stop    atomic.Bool
)

func expect(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "gofileread: %v\n", err)
		os.Exit(1)
	}
}

// xorshift64, as in C.
func (r *reader) nextPlace(blocks uint64) int64 {
	r.seed ^= r.seed << 13
	r.seed ^= r.seed >> 7
	r.seed ^= r.seed << 17
	return int64(r.seed % blocks * block)
}

func (r *reader) readOn(f *os.File, blocks uint64, ended *sync.WaitGroup) {
	defer ended.Done()
	buffer := make([]byte, block)
	for !stop.Load() {
		_, err := f.ReadAt(buffer, r.nextPlace(blocks))
		expect(err)
		r.reads.Store(r.reads.Load() + 1)
	}
}

type reading struct { // how things stand at a time
	wall  time.Time
	cpu   time.Duration
	reads uint64
}

func processTime() time.Duration {
	const processClock = 2 // CLOCK_PROCESS_CPUTIME_ID
	var t syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, processClock, uintptr(unsafe.Pointer(&t)), 0)
	if errno != 0 {
		expect(errno)
	}
	return time.Duration(t.Nano())
}

func after(d time.Duration) reading {
	time.Sleep(d)
	now := reading{wall: time.Now(), cpu: processTime()}
	for i := range readers {
		now.reads += readers[i].reads.Load()
	}
	return now
}

func main() {
	if len(os.Args) != 2 {
		expect(fmt.Errorf("usage: gofileread FILE"))
	}
	f, err := os.Open(os.Args[1])
	expect(err)
	info, err := f.Stat()
	expect(err)
	var all sync.WaitGroup
	for i := range readers {
		readers[i].seed = uint64(i) + 1
		all.Add(1)
		go readers[i].readOn(f, uint64(info.Size())/block, &all)
	}
	begin := after(warmUp)
	end := after(length)
	reads := float64(end.reads - begin.reads)
	fmt.Printf("cpu %.4f us\n", float64((end.cpu-begin.cpu).Nanoseconds())/1e3/reads)
	fmt.Printf("rate %.3f /s\n", reads/end.wall.Sub(begin.wall).Seconds())
	stop.Store(true)
	all.Wait()
}

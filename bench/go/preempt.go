package main

// Goroutines that compute on and on, or block in the kernel: the twin of preempt.c, which says what
// each measures. Plain system calls on blocking descriptors, so that the netpoller has no part in it.

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ---- fairness

const (
	loopsEach = 2
	fairNaps  = 300
)

func napAmongLoops(late []time.Duration) {
	var stop atomic.Bool
	var ended sync.WaitGroup
	goMany(&ended, loopsEach*runtime.GOMAXPROCS(0), func() {
		for !stop.Load() {
		}
	})
	for i := range late {
		start := time.Now()
		time.Sleep(time.Millisecond)
		late[i] = time.Since(start) - time.Millisecond
	}
	stop.Store(true)
	ended.Wait()
}

func benchFairness() {
	late := make([]time.Duration, fairNaps)
	napAmongLoops(late[:fairNaps/10])
	napAmongLoops(late)
	reportPercentiles("fairness_late_p50", "fairness_late_p99", late)
}

// ---- preempt_cost

const hogSteps = 100000000

var hogResult atomic.Uint32

func hog() {
	random := uint32(1)
	for i := 0; i < hogSteps; i++ {
		random = random*1664525 + 1013904223
	}
	hogResult.Add(random)
}

func hogsInTurn(n int) {
	for i := 0; i < n; i++ {
		var ended sync.WaitGroup
		goMany(&ended, 1, hog)
		ended.Wait()
	}
}

func hogsTogether(n int) {
	var ended sync.WaitGroup
	goMany(&ended, n, hog)
	ended.Wait()
}

func benchPreemptCost() {
	n := 2 * runtime.GOMAXPROCS(0)
	measureWhole("preempt_cost_in_turn", hogsInTurn, 1, n)
	measureWhole("preempt_cost_together", hogsTogether, 1, n)
}

// ---- blocked_call

func makePipe() (fd [2]int) {
	expect(syscall.Pipe(fd[:]) == nil, "a pipe")
	return fd
}

func closePipe(fd [2]int) {
	syscall.Close(fd[0])
	syscall.Close(fd[1])
}

func readByte(fd int) (byte, bool) {
	var c [1]byte
	n, err := syscall.Read(fd, c[:])
	for err == syscall.EINTR { // Go's preemption signals have SA_RESTART, but say so anyway
		n, err = syscall.Read(fd, c[:])
	}
	return c[0], n == 1
}

func writeByte(fd int, c byte) bool {
	n, err := syscall.Write(fd, []byte{c})
	return n == 1 && err == nil
}

func blockedCalls(n int) {
	var ended sync.WaitGroup
	ping, pong := makePipe(), makePipe()
	goMany(&ended, 1, func() {
		for {
			c, ok := readByte(ping[0])
			if !ok {
				return
			}
			expect(writeByte(pong[1], c), "a write")
		}
	})
	for i := 0; i < n; i++ {
		expect(writeByte(ping[1], byte(i)), "a write")
		c, ok := readByte(pong[0])
		expect(ok && c == byte(i), "the byte that was sent")
	}
	syscall.Close(ping[1])
	ended.Wait()
	syscall.Close(ping[0])
	closePipe(pong)
}

func benchBlockedCall() {
	measureEach("blocked_call", blockedCalls, 5000)
}

// ---- pipes10k

const pipes = 10000

func makeTwoWay() int {
	fd := makePipe()
	both, err := syscall.Open(fmt.Sprintf("/proc/self/fd/%d", fd[0]), syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	expect(err == nil, "a pipe, for both ways")
	closePipe(fd)
	return both
}

func raiseFiles(n uint64) {
	var l syscall.Rlimit
	expect(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil, "getrlimit")
	if l.Cur >= n {
		return
	}
	l.Cur, l.Max = n, max(n, l.Max)
	expect(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) == nil, "10,100 descriptors")
}

func benchPipes10k() {
	var arrived, next atomic.Int64
	var ended sync.WaitGroup
	fd := make([]int, pipes)
	debug.SetMaxThreads(2 * pipes)
	raiseFiles(pipes + 100)
	for i := range fd {
		fd[i] = makeTwoWay()
	}
	w := startStopwatch()
	goMany(&ended, pipes, func() {
		i := next.Add(1) - 1
		arrived.Add(1)
		c, ok := readByte(fd[i])
		expect(ok && c == byte(i), "the byte that was sent")
	})
	for arrived.Load() < pipes {
		time.Sleep(time.Millisecond)
	}
	w.stop()
	reportWhole("pipes10k_block", &w)

	w = startStopwatch()
	for i := range fd {
		expect(writeByte(fd[i], byte(i)), "a write")
	}
	ended.Wait()
	w.stop()
	reportWhole("pipes10k_wake", &w)
	for i := range fd {
		syscall.Close(fd[i])
	}
}

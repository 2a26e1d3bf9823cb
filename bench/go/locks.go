package main

// What locks and other ways to wait for each other cost: the twin of locks.c, which says what each
// measures.

import (
	"runtime"
	"sync"
)

type counter struct {
	lock    sync.Mutex
	each, n int
}

func (c *counter) count() {
	for i := 0; i < c.each; i++ {
		c.lock.Lock()
		c.n++
		c.lock.Unlock()
	}
}

func countBy(goroutines, n int) {
	c := counter{each: n / goroutines}
	var ended sync.WaitGroup
	goMany(&ended, goroutines, c.count)
	ended.Wait()
	expect(c.n == goroutines*c.each, "every count")
}

// ---- mutex_uncontended

func benchMutexUncontended() {
	measureEach("mutex_uncontended", func(n int) { countBy(1, n) }, 40000000)
}

// ---- mutex_contended

func benchMutexContended() {
	measureEach("mutex_contended", func(n int) { countBy(4, n) }, 10000000)
}

// ---- rwmutex_read

type readers struct {
	lock    sync.RWMutex
	each, n int
}

func (r *readers) read() {
	sum := 0
	for i := 0; i < r.each; i++ {
		r.lock.RLock()
		sum += r.n
		r.lock.RUnlock()
	}
	expect(sum == r.each, "every read")
}

func benchRwmutexRead() {
	measureEach("rwmutex_read", func(n int) {
		r := readers{each: n / 4, n: 1}
		var ended sync.WaitGroup
		goMany(&ended, 4, r.read)
		ended.Wait()
	}, 40000000)
}

// ---- cond_pingpong

type turns struct {
	lock    sync.Mutex
	changed *sync.Cond
	each    int
	turn    int
}

func (t *turns) take(mine int) {
	t.lock.Lock()
	for i := 0; i < t.each; i++ {
		for t.turn != mine {
			t.changed.Wait()
		}
		t.turn = 1 - mine
		t.changed.Signal()
	}
	t.lock.Unlock()
}

func benchCondPingpong() {
	measureEach("cond_pingpong", func(n int) {
		t := turns{each: n / 2}
		t.changed = sync.NewCond(&t.lock)
		var ended sync.WaitGroup
		goMany(&ended, 1, func() { t.take(0) })
		goMany(&ended, 1, func() { t.take(1) })
		ended.Wait()
	}, 5000000)
}

// ---- sem: a buffered channel, as Go has no semaphore of its own

type places struct {
	taken  chan struct{}
	each   int
	yields bool
}

func (p *places) comeAndGo() {
	for i := 0; i < p.each; i++ {
		p.taken <- struct{}{}
		if p.yields {
			runtime.Gosched()
		}
		<-p.taken
	}
}

func fourForTwo(n int, yields bool) {
	p := places{taken: make(chan struct{}, 2), each: n / 4, yields: yields}
	var ended sync.WaitGroup
	goMany(&ended, 4, p.comeAndGo)
	ended.Wait()
	expect(len(p.taken) == 0, "both places")
}

func benchSem() {
	measureEach("sem", func(n int) { fourForTwo(n, false) }, 20000000)
	measureEach("sem_wait", func(n int) { fourForTwo(n, true) }, 4000000)
}

// ---- waitgroup

const members = 10

func benchWaitgroup() {
	measureEach("waitgroup", func(n int) {
		var group sync.WaitGroup
		for i := 0; i < n/members; i++ {
			goMany(&group, members, func() {})
			group.Wait()
		}
	}, 5000000)
}

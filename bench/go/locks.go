package main

// What a mutex costs: the twin of locks.c, which says what each measures.

import "sync"

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

package main

// What goroutines themselves cost: the twin of goroutines.c, which says what each measures.

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// ---- yield

const yielders = 4

func yielder(started *sync.WaitGroup, n int) {
	started.Done()
	started.Wait()
	for i := 0; i < n; i++ {
		runtime.Gosched()
	}
}

func yields(n int) {
	var started, ended sync.WaitGroup
	started.Add(yielders)
	goMany(&ended, yielders, func() { yielder(&started, n/yielders) })
	ended.Wait()
}

func benchYield() {
	measureEach("yield", yields, 8000000)
}

// ---- spawn

const batch = 1000

func doneAtOnce(ended *sync.WaitGroup) {
	ended.Done()
}

func batches(n int) {
	for i := 0; i < n; i += batch {
		var ended sync.WaitGroup
		for j := 0; j < batch; j++ {
			ended.Add(1)
			go doneAtOnce(&ended)
		}
		ended.Wait()
	}
}

func benchSpawn() {
	measureEach("spawn", batches, 2000000)
}

// ---- spawn_join

func spawnAndJoin(n int) {
	for i := 0; i < n; i++ {
		v := int32(i)
		c := make(chan int32, 1)
		go func() { c <- v }()
		expect(<-c == v, "the goroutine's result")
	}
}

func benchSpawnJoin() {
	measureEach("spawn_join", spawnAndJoin, 2000000)
}

// ---- park1m

const parkers = 1000000

type parking struct {
	gate    chan int32
	arrived atomic.Int64
	ended   sync.WaitGroup
}

func (p *parking) parker() {
	p.arrived.Add(1)
	<-p.gate
	p.ended.Done()
}

func (p *parking) park(n int) {
	p.ended.Add(n)
	for i := 0; i < n; i++ {
		go p.parker()
	}
	for p.arrived.Load() < int64(n) {
		time.Sleep(time.Millisecond)
	}
}

func (p *parking) wake() {
	close(p.gate)
	p.ended.Wait()
}

func parkAndWake(n int) {
	p := parking{gate: make(chan int32)}
	p.park(n)
	p.wake()
}

func benchPark1m() {
	p := parking{gate: make(chan int32)}
	parkAndWake(100)
	rss, tables := memoryOf("VmRSS"), memoryOf("VmPTE")
	w := startStopwatch()
	p.park(parkers)
	w.stop()
	rss, tables = memoryOf("VmRSS")-rss, memoryOf("VmPTE")-tables
	reportWhole("park1m_spawn", &w)

	w = startStopwatch()
	p.wake()
	w.stop()
	reportWhole("park1m_wake", &w)
	reportBytes("park1m_rss", rss/parkers)
	reportBytes("park1m_pagetables", tables/parkers)
}

// ---- sleepers

const naps = 10

func sleeper(ended *sync.WaitGroup, random uint32) {
	for i := 0; i < naps; i++ {
		random = random*1664525 + 1013904223
		time.Sleep(time.Duration(1+(random>>16)%10) * time.Millisecond)
	}
	ended.Done()
}

func sleepers(n int) {
	var ended sync.WaitGroup
	ended.Add(n)
	for i := 0; i < n; i++ {
		go sleeper(&ended, uint32(i))
	}
	ended.Wait()
}

func benchSleepers() {
	measureWhole("sleepers", sleepers, 1000, 100000)
}

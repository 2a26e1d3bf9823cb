package main

// What timers cost, alone and by the million, and how late they are: the twin of timers.c, which says
// what each measures.

import (
	"slices"
	"sync"
	"time"
)

func nextRandom(state *uint32) uint32 {
	*state = *state*1664525 + 1013904223
	return *state >> 8
}

// Sorts them.
func reportPercentiles(p50, p99 string, values []time.Duration) {
	n := len(values)
	slices.Sort(values)
	reportValue(p50, float64(values[n/2])/float64(time.Microsecond), "us")
	reportValue(p99, float64(values[n/100*99])/float64(time.Microsecond), "us")
}

// ---- timer_reset

const live = 10000

func putOff(timers []*time.Timer, n int) {
	for i := 0; i < n; i++ {
		timers[i%live].Reset(time.Hour)
	}
}

func scatter(timers []*time.Timer, n int) {
	random := uint32(1)
	for i := 0; i < n; i++ {
		timers[i%live].Reset(time.Hour / 4096 * time.Duration(1+nextRandom(&random)%4096))
	}
}

func benchTimerReset() {
	timers := make([]*time.Timer, live)
	for i := range timers {
		timers[i] = time.AfterFunc(time.Hour, func() {})
	}
	measureEach("timer_reset", func(n int) { putOff(timers, n) }, 10000000)
	measureEach("timer_reset_random", func(n int) { scatter(timers, n) }, 5000000)
	for _, t := range timers {
		t.Stop()
	}
}

// ---- timers1m

const (
	million = 1000000
	lead    = 2 * time.Second
	spread  = 4 * time.Second
)

type alarm struct {
	timer *time.Timer
	at    time.Time
	late  time.Duration
}

func alarms(all []alarm) {
	var ended sync.WaitGroup
	base := time.Now().Add(lead)
	random := uint32(1)
	ended.Add(len(all))
	for i := range all {
		a := &all[i]
		a.at = base.Add(time.Duration(float64(nextRandom(&random)) / (1 << 24) * float64(spread)))
		a.timer = time.AfterFunc(time.Until(a.at), func() {
			a.late = time.Since(a.at)
			ended.Done()
		})
	}
	expect(time.Now().Before(base), "a million timers in two seconds")
	ended.Wait()
	for i := range all {
		all[i].timer.Stop()
	}
}

func benchTimers1m() {
	all := make([]alarm, million)
	late := make([]time.Duration, million)
	w := startStopwatch()
	alarms(all)
	w.stop()
	reportWhole("timers1m", &w)
	for i := range all {
		late[i] = all[i].late
	}
	reportPercentiles("timers1m_late_p50", "timers1m_late_p99", late)
}

// ---- sleepers100

const dozers = 100000

func dozer(ended *sync.WaitGroup, over *time.Duration, seed uint32) {
	start := time.Now()
	asked := time.Duration(0)
	for i := 0; i < naps; i++ {
		nap := time.Duration(1+nextRandom(&seed)%100) * time.Millisecond
		asked += nap
		time.Sleep(nap)
	}
	*over = time.Since(start) - asked
	ended.Done()
}

func doze(over []time.Duration, n int) {
	var ended sync.WaitGroup
	ended.Add(n)
	for i := 0; i < n; i++ {
		go dozer(&ended, &over[i], uint32(i))
	}
	ended.Wait()
}

func benchSleepers100() {
	over := make([]time.Duration, dozers)
	doze(over, dozers/100)
	w := startStopwatch()
	doze(over, dozers)
	w.stop()
	reportWhole("sleepers100", &w)
	reportPercentiles("sleepers100_over_p50", "sleepers100_over_p99", over)
}

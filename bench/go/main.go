// Command bench runs one benchmark by its name: the twin of gortbench.c.
// GOMAXPROCS sets the processors.
package main

import (
	"fmt"
	"os"
)

var table = []struct {
	name string
	run  func()
}{
	{"yield", benchYield},
	{"pingpong_unbuf", benchPingpongUnbuf},
	{"chan_buf", benchChanBuf},
	{"prodcons", benchProdcons},
	{"mpmc", benchMpmc},
	{"spawn", benchSpawn},
	{"spawn_join", benchSpawnJoin},
	{"select2", benchSelect2},
	{"select8", benchSelect8},
	{"select64", benchSelect64},
	{"select1000", benchSelect1000},
	{"ctx_cancel_tree", benchCtxCancelTree},
	{"ctx_ambient", benchCtxAmbient},
	{"mutex_uncontended", benchMutexUncontended},
	{"mutex_contended", benchMutexContended},
	{"rwmutex_read", benchRwmutexRead},
	{"cond_pingpong", benchCondPingpong},
	{"sem", benchSem},
	{"waitgroup", benchWaitgroup},
	{"skynet", benchSkynet},
	{"park1m", benchPark1m},
	{"primes", benchPrimes},
	{"parfib", benchParfib},
	{"sleepers", benchSleepers},
	{"sleepers100", benchSleepers100},
	{"timer_reset", benchTimerReset},
	{"timers1m", benchTimers1m},
	{"fairness", benchFairness},
	{"preempt_cost", benchPreemptCost},
	{"blocked_call", benchBlockedCall},
	{"pipes10k", benchPipes10k},
}

func list() {
	for _, b := range table {
		fmt.Println(b.name)
	}
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--list" {
		list()
		return
	}
	for _, b := range table {
		if len(os.Args) == 2 && os.Args[1] == b.name {
			b.run()
			return
		}
	}
	fmt.Fprintf(os.Stderr, "Usage: bench NAME\n       bench --list\n")
	os.Exit(2)
}

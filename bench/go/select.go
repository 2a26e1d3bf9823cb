package main

// What a select costs: the twin of select.c, which says what each measures. 2, 8 and 64 cases are a
// select statement (64: select64.go); 1000 are reflect.Select over cases that are made once, which
// includes what reflection costs.

import (
	"reflect"
	"sync"
)

// Through which channel the value i goes.
func wayOf(i, width int) int {
	return int(uint64(uint32(i)*2654435769) * uint64(width) >> 32)
}

func openAll(width, capacity int) []chan int32 {
	c := make([]chan int32, width)
	for i := range c {
		c[i] = make(chan int32, capacity)
	}
	return c
}

// Selects over c: gives the index of the case, and the value.
type selecter func() (int, int32)

// ---- selectN

func sendAll(c []chan int32, n int) {
	for i := 0; i < n; i++ {
		c[wayOf(i, len(c))] <- int32(i)
	}
}

func selectFrom(width, n int, over func(c []chan int32) selecter) {
	var ended sync.WaitGroup
	c := openAll(width, 0)
	choose := over(c)
	goMany(&ended, 1, func() { sendAll(c, n) })
	for i := 0; i < n; i++ {
		which, v := choose()
		expect(v == int32(i) && which == wayOf(i, width), "the value that was sent")
	}
	ended.Wait()
}

// ---- selectN_ready

func selectReady(width, n int, over func(c []chan int32) selecter) {
	c := openAll(width, 1)
	choose := over(c)
	for i := 0; i < n; i++ {
		way := wayOf(i, width)
		c[way] <- int32(i)
		which, v := choose()
		expect(v == int32(i) && which == way, "the value that was sent")
	}
}

// ---- the widths

func statement2(c []chan int32) selecter {
	return func() (int, int32) {
		select {
		case v := <-c[0]:
			return 0, v
		case v := <-c[1]:
			return 1, v
		}
	}
}

func statement8(c []chan int32) selecter {
	return func() (int, int32) {
		select {
		case v := <-c[0]:
			return 0, v
		case v := <-c[1]:
			return 1, v
		case v := <-c[2]:
			return 2, v
		case v := <-c[3]:
			return 3, v
		case v := <-c[4]:
			return 4, v
		case v := <-c[5]:
			return 5, v
		case v := <-c[6]:
			return 6, v
		case v := <-c[7]:
			return 7, v
		}
	}
}

func reflected(c []chan int32) selecter {
	cases := make([]reflect.SelectCase, len(c))
	for i := range c {
		cases[i] = reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(c[i])}
	}
	return func() (int, int32) {
		which, v, _ := reflect.Select(cases)
		return which, int32(v.Int())
	}
}

func measureBoth(name string, width, n int, over func(c []chan int32) selecter) {
	measureEach(name, func(n int) { selectFrom(width, n, over) }, n)
	measureEach(name+"_ready", func(n int) { selectReady(width, n, over) }, n)
}

func benchSelect2() {
	measureBoth("select2", 2, 5000000, statement2)
}

func benchSelect8() {
	measureBoth("select8", 8, 2000000, statement8)
}

func benchSelect64() {
	measureBoth("select64", 64, 300000, statement64)
}

func benchSelect1000() {
	measureBoth("select1000", 1000, 20000, reflected)
}

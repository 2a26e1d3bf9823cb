package main

// What a value through a channel costs: the twin of channels.c, which says what each measures.

import (
	"sync"
	"sync/atomic"
)

const capacity = 128

// ---- pingpong_unbuf

func echo(ping, pong chan int32) {
	for v := range ping {
		pong <- v
	}
}

func pingpong(n int) {
	ping, pong := make(chan int32), make(chan int32)
	var ended sync.WaitGroup
	goMany(&ended, 1, func() { echo(ping, pong) })
	for i := 0; i < n; i++ {
		ping <- int32(i)
		expect(<-pong == int32(i), "the value that was sent")
	}
	close(ping)
	ended.Wait()
}

func benchPingpongUnbuf() {
	measureEach("pingpong_unbuf", pingpong, 2000000)
}

// ---- chan_buf

const fill = 64

func fillAndDrain(n int) {
	c := make(chan int32, capacity)
	for i := 0; i < n; i += fill {
		for j := int32(0); j < fill; j++ {
			c <- j
		}
		for j := 0; j < fill; j++ {
			<-c
		}
	}
}

func benchChanBuf() {
	measureEach("chan_buf", fillAndDrain, 20000000)
}

// ---- prodcons

func produce(c chan int32, each int) {
	for i := 0; i < each; i++ {
		c <- int32(i)
	}
}

func consume(c chan int32, total *atomic.Int64) {
	sum := int64(0)
	for v := range c {
		sum += int64(v)
	}
	total.Add(sum)
}

// n values by so many producers to so many consumers.
func production(n, producers, consumers int) {
	var producing, consuming sync.WaitGroup
	var sum atomic.Int64
	c := make(chan int32, capacity)
	each := n / producers
	goMany(&consuming, consumers, func() { consume(c, &sum) })
	goMany(&producing, producers, func() { produce(c, each) })
	producing.Wait()
	close(c)
	consuming.Wait()
	expect(sum.Load() == int64(producers*(each*(each-1)/2)), "all values")
}

func benchProdcons() {
	measureEach("prodcons", func(n int) { production(n, 1, 1) }, 10000000)
}

// ---- mpmc

func benchMpmc() {
	measureEach("mpmc", func(n int) { production(n, 4, 4) }, 10000000)
}

// ---- primes

func generate(out chan int32, limit int32) {
	for i := int32(2); i <= limit; i++ {
		out <- i
	}
	close(out)
}

func filter(in, out chan int32, prime int32) {
	for i := range in {
		if i%prime != 0 {
			out <- i
		}
	}
	close(out)
}

func sieve(limit int32, expected int) {
	numbers := make(chan int32)
	primes := 0
	go generate(numbers, limit)
	for {
		prime, ok := <-numbers
		if !ok {
			break
		}
		rest := make(chan int32)
		go filter(numbers, rest, prime)
		numbers = rest
		primes++
	}
	expect(primes == expected, "the number of primes")
}

func benchPrimes() {
	sieve(541, 100)
	w := startStopwatch()
	sieve(22307, 2500)
	w.stop()
	reportWhole("primes", &w)
}

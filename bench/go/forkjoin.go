package main

// Trees of goroutines: the twin of forkjoin.c, which says what each measures.

import "sync"

// ---- skynet

const div = 10

func sumOfChildren(num, size int64) int64 {
	c := make(chan int64)
	sum := int64(0)
	for i := int64(0); i < div; i++ {
		go skynetNode(c, num+i*(size/div), size/div)
	}
	for i := 0; i < div; i++ {
		sum += <-c
	}
	return sum
}

func skynetNode(up chan int64, num, size int64) {
	if size == 1 {
		up <- num
	} else {
		up <- sumOfChildren(num, size)
	}
}

func skynet(leaves int) {
	c := make(chan int64)
	go skynetNode(c, 0, int64(leaves))
	expect(<-c == int64(leaves)*int64(leaves-1)/2, "skynet's sum")
}

func benchSkynet() {
	measureWhole("skynet", skynet, 1000, 1000000)
}

// ---- parfib

const (
	fibNumber = 40
	cutoff    = 12
)

func fib(n int) int64 {
	if n < 2 {
		return int64(n)
	}
	return fib(n-1) + fib(n-2)
}

func fibParallel(n int) int64 {
	if n <= cutoff {
		return fib(n)
	}
	var joined sync.WaitGroup
	var result int64
	joined.Add(1)
	go func() {
		result = fibParallel(n - 1)
		joined.Done()
	}()
	other := fibParallel(n - 2)
	joined.Wait()
	return result + other
}

func benchParfib() {
	var parallel, sequential int64
	measureWhole("parfib", func(n int) { parallel = fibParallel(n) }, 20, fibNumber)
	measureWhole("parfib_seq", func(n int) { sequential = fib(n) }, 20, fibNumber)
	expect(parallel == sequential, "the same number both ways")
}

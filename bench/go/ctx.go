package main

// What contexts cost: the twin of ctx.c, which says what each measures.

import (
	"context"
	"fmt"
	"sync"
)

// ---- ctx_cancel_tree

const (
	contexts = 100000
	below    = 10
	trees    = 10
)

var (
	tree    [contexts]context.Context
	cancels [contexts]context.CancelFunc
)

func makeTree() {
	tree[0], cancels[0] = context.WithCancel(context.Background())
	for i := 1; i < contexts; i++ {
		tree[i], cancels[i] = context.WithCancel(tree[(i-1)/below])
	}
}

// Calling the cancel functions is what its documentation asks for.
func dropTree() {
	for i := range tree {
		expect(tree[i].Err() != nil, "a context that has ended")
		cancels[i]()
		tree[i], cancels[i] = nil, nil
	}
}

func (w *stopwatch) add(part stopwatch) {
	part.stop()
	w.wall += part.wall
	w.cpu += part.cpu
}

func perTree(name string, w stopwatch) {
	w.wall /= trees
	w.cpu /= trees
	reportWhole(name, &w)
}

func benchCtxCancelTree() {
	var made, canceled, all stopwatch
	for i := 0; i <= trees; i++ {
		if i == 1 { // the first was to warm up
			made, canceled, all = stopwatch{}, stopwatch{}, stopwatch{}
		}
		w := startStopwatch()
		part := w
		makeTree()
		made.add(part)
		part = startStopwatch()
		cancels[0]()
		canceled.add(part)
		dropTree()
		all.add(w)
	}
	perTree("ctx_tree_make", made)
	perTree("ctx_tree_cancel", canceled)
	perTree("ctx_cancel_tree", all)
}

// ---- ctx_ambient

const alternations = 20

func fillAndDrainUnder(ctx context.Context, n int) {
	c := make(chan int32, capacity)
	for i := 0; i < n; i += fill {
		for j := int32(0); j < fill; j++ {
			select {
			case c <- j:
			case <-ctx.Done():
			}
		}
		for j := 0; j < fill; j++ {
			select {
			case <-c:
			case <-ctx.Done():
			}
		}
	}
}

func echoUnder(ctx context.Context, ping, pong chan int32) {
	for {
		select {
		case v, ok := <-ping:
			if !ok {
				return
			}
			select {
			case pong <- v:
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
	}
}

func pingpongUnder(ctx context.Context, n int) {
	ping, pong := make(chan int32), make(chan int32)
	var ended sync.WaitGroup
	goMany(&ended, 1, func() { echoUnder(ctx, ping, pong) })
	for i := 0; i < n; i++ {
		select {
		case ping <- int32(i):
		case <-ctx.Done():
		}
		select {
		case v := <-pong:
			expect(v == int32(i), "the value that was sent")
		case <-ctx.Done():
		}
	}
	close(ping)
	ended.Wait()
}

func timed(sum *stopwatch, work func(n int), n int) {
	w := startStopwatch()
	work(n)
	sum.add(w)
}

func reportNs(name string, w *stopwatch, n int) {
	fmt.Printf("%s %.3f ns\n", name, float64(w.wall)/float64(n))
	fmt.Printf("%s.cpu %.3f ns\n", name, float64(w.cpu)/float64(n))
}

func inTurns(work func(n int), workUnder func(ctx context.Context, n int), n int) (plain, ambient stopwatch) {
	ctx, cancel := context.WithCancel(context.Background())
	under := func(n int) { workUnder(ctx, n) }
	under(n / 10)
	for i := 0; i < alternations; i++ {
		timed(&plain, work, n/alternations)
		timed(&ambient, under, n/alternations)
	}
	cancel()
	return plain, ambient
}

func percent(plain, ambient stopwatch) float64 {
	return 100 * float64(ambient.wall) / float64(plain.wall)
}

func benchCtxAmbient() {
	plain, ambient := inTurns(fillAndDrain, fillAndDrainUnder, 20000000)
	reportNs("ctx_none_chan", &plain, 20000000)
	reportNs("ctx_chan_buf", &ambient, 20000000)
	fmt.Printf("ctx_chan_percent %.1f %%\n", percent(plain, ambient))
	plain, ambient = inTurns(pingpong, pingpongUnder, 2000000)
	reportNs("ctx_none_pingpong", &plain, 2000000)
	reportNs("ctx_pingpong", &ambient, 2000000)
	fmt.Printf("ctx_pingpong_percent %.1f %%\n", percent(plain, ambient))
}

// Command treesum prints the SHA-256 of every regular file under each path, as sha256sum does:
// the twin of examples/treesum.c, in the same shape.
//
//	walker --jobs--> N hashers --results--> printer
//
// Both channels are bounded by two jobs a worker, a hasher reads 128 KiB at a time, a directory
// is read as a stream while the walk is below it. Left out is what costs no time: progress on a
// terminal, and paths longer than the system takes at once.
package main

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

const (
	readSize   = 128 * 1024
	dirBatch   = 128 // entries read at once; libc's readdir takes 32 KiB
	maxWorkers = 1024
)

type job struct {
	path string
	arg  bool // from the command line: links are followed
}

type result struct {
	path   string
	digest [sha256.Size]byte
}

var failed, stopping atomic.Bool

var escaper = strings.NewReplacer("\\", "\\\\", "\n", "\\n", "\r", "\\r")

func report(path string, err error) {
	if e, ok := err.(*fs.PathError); ok {
		err = e.Err // the path is told anyway
	}
	fmt.Fprintf(os.Stderr, "treesum: %s: %v\n", escaper.Replace(path), err)
	failed.Store(true)
}

// ---- the walker

func join(dir, name string) string {
	if strings.HasSuffix(dir, "/") {
		return dir + name
	}
	return dir + "/" + name
}

func walkTree(path string, flags int, jobs chan<- job) {
	dir, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOCTTY|flags, 0)
	if err != nil {
		report(path, err)
		return
	}
	defer dir.Close()
	for !stopping.Load() {
		entries, err := dir.ReadDir(dirBatch)
		for _, e := range entries {
			if stopping.Load() {
				return
			}
			if e.IsDir() {
				walkTree(join(path, e.Name()), syscall.O_NOFOLLOW, jobs)
			} else if e.Type().IsRegular() {
				jobs <- job{path: join(path, e.Name())}
			}
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			report(path, err)
			return
		}
	}
}

func walk(roots []string, jobs chan<- job) {
	defer close(jobs)
	for _, root := range roots {
		if stopping.Load() {
			return
		}
		st, err := os.Stat(root)
		if err != nil {
			report(root, err)
		} else if st.IsDir() {
			walkTree(root, 0, jobs)
		} else if st.Mode().IsRegular() {
			jobs <- job{path: root, arg: true}
		}
	}
}

// ---- the hashers

// O_NONBLOCK and Stat: what was a file when it was listed may be a FIFO by now, or a link.
func openFile(j job) (*os.File, error) {
	flags := os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_NOCTTY
	if !j.arg {
		flags |= syscall.O_NOFOLLOW
	}
	f, err := os.OpenFile(j.path, flags, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("no longer a regular file")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func hashJob(j job, h hash.Hash, buffer []byte) (r result, err error) {
	f, err := openFile(j)
	if err != nil {
		return r, err
	}
	defer f.Close()
	h.Reset()
	for !stopping.Load() {
		n, err := f.Read(buffer)
		h.Write(buffer[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return r, err
		}
	}
	r.path = j.path
	h.Sum(r.digest[:0])
	return r, nil
}

func hashAll(jobs <-chan job, results chan<- result) {
	h := sha256.New()
	buffer := make([]byte, readSize)
	for j := range jobs {
		if stopping.Load() {
			continue
		}
		r, err := hashJob(j, h, buffer)
		if err != nil {
			report(j.path, err)
		} else {
			results <- r
		}
	}
}

// ---- the printer

func outputFailed(err error) {
	if !stopping.Swap(true) {
		report("standard output", err)
	}
}

func printResult(out *bufio.Writer, r *result) {
	path, mark := r.path, ""
	if strings.ContainsAny(path, "\n\r\\") {
		path, mark = escaper.Replace(path), "\\"
	}
	_, err := fmt.Fprintf(out, "%s%s  %s\n", mark, hex.EncodeToString(r.digest[:]), path)
	if err != nil {
		outputFailed(err)
	}
}

func printAll(results <-chan result, sorted bool) {
	out := bufio.NewWriter(os.Stdout)
	var kept []result
	for r := range results {
		if sorted {
			kept = append(kept, r)
		} else if !stopping.Load() {
			printResult(out, &r)
		}
	}
	slices.SortFunc(kept, func(a, b result) int { return cmp.Compare(a.path, b.path) })
	for i := range kept {
		if !stopping.Load() {
			printResult(out, &kept[i])
		}
	}
	if err := out.Flush(); err != nil {
		outputFailed(err)
	}
}

// ---- main

func sumTrees(roots []string, sorted bool, workers int) {
	jobs := make(chan job, 2*workers)
	results := make(chan result, 2*workers)
	printed := make(chan struct{})
	var hashing sync.WaitGroup

	go func() {
		printAll(results, sorted)
		close(printed)
	}()
	for i := 0; i < workers; i++ {
		hashing.Add(1)
		go func() {
			defer hashing.Done()
			hashAll(jobs, results)
		}()
	}
	go walk(roots, jobs)
	hashing.Wait()
	close(results)
	<-printed
}

func main() {
	sorted := flag.Bool("sort", false, "print in the order of the paths' bytes")
	workers := flag.Int("workers", min(2*runtime.GOMAXPROCS(0), 64), "hash `N` files at a time")
	flag.Parse()
	if *workers < 1 || *workers > maxWorkers {
		fmt.Fprintln(os.Stderr, "treesum: --workers takes a number from 1 to 1024")
		os.Exit(2)
	}
	roots := flag.Args()
	if len(roots) == 0 {
		roots = []string{"."}
	}
	sumTrees(roots, *sorted, *workers)
	if failed.Load() {
		os.Exit(1)
	}
}

// The trap: signals during bind and listen. Go's runtime preempts goroutines with SIGURG, and this program also
// sends itself SIGUSR1 all the time, with a handler. A call that is interrupted while it waits for the keeper's
// answer is restarted or fails with EINTR, unless the filter asked for waits that only a fatal signal ends.
// It binds and listens ROUNDS times, closes each time, says how many rounds failed, and then serves.
// Usage: signals PORT [ROUNDS]
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		os.Exit(2)
	}
	rounds := 100
	if len(os.Args) > 2 {
		rounds, _ = strconv.Atoi(os.Args[2])
	}
	var received, stop int64
	signals := make(chan os.Signal, 1024)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		for range signals {
			atomic.AddInt64(&received, 1)
		}
	}()
	for i := 0; i < 4; i++ {
		go func() { // a busy goroutine: preempted by SIGURG
			for atomic.LoadInt64(&stop) == 0 {
			}
		}()
	}
	go func() {
		for atomic.LoadInt64(&stop) == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGUSR1)
			time.Sleep(100 * time.Microsecond)
		}
	}()
	for atomic.LoadInt64(&received) < 10 { // so that there are signals from the first round on
		time.Sleep(time.Millisecond)
	}
	address := "127.0.0.1:" + os.Args[1]
	failed := 0
	for i := 0; i < rounds; i++ {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			failed++
			fmt.Fprintln(os.Stderr, err)
			continue
		}
		listener.Close()
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	atomic.StoreInt64(&stop, 1)
	fmt.Printf("rounds %d failed %d signals %d\n", rounds, failed, atomic.LoadInt64(&received))
	fmt.Printf("listening on %s pid %d\n", os.Args[1], os.Getpid())
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "pid %d\n", os.Getpid())
	})
	fmt.Fprintln(os.Stderr, http.Serve(listener, nil))
	os.Exit(1)
}

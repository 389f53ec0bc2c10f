// work: goroutines that allocate by C's malloc, hand blocks to each other, call C and are called back, beside Go's own heap, whose
// scheduler interrupts threads by signals.
// Always: prints the same for every allocator, and exits with 5.
package main

/*
#include <stdlib.h>
#include <string.h>
extern int goAdd(int a, int b);
static int call_back(int n) {
  char *text = malloc(n + 1);
  memset(text, 'x', n);
  text[n] = 0;
  int length = goAdd((int)strlen(text), 1);
  free(text);
  return length;
}
*/
import "C"

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"unsafe"
)

//export goAdd
func goAdd(a, b C.int) C.int { return a + b }

func main() {
	const workers, rounds = 8, 4000
	blocks := make(chan unsafe.Pointer, 1000)
	var group, drained sync.WaitGroup
	var sum int64
	drained.Add(1)
	go func() {
		defer drained.Done()
		for block := range blocks {
			sum += int64(len(C.GoString((*C.char)(block))))
			C.free(block)
		}
	}()
	totals := make([]int64, workers)
	for w := 0; w < workers; w++ {
		group.Add(1)
		go func(w int) {
			defer group.Done()
			kept := map[int]string{}
			for i := 0; i < rounds; i++ {
				kept[i%100] = fmt.Sprintf("text %d of %d %s", i, w, make([]byte, i%300))
				blocks <- unsafe.Pointer(C.CString(kept[i%100]))
				totals[w] += int64(C.call_back(C.int(i % 3000)))
				if i%500 == 0 {
					runtime.GC()
				}
				if i%700 == 0 {
					big := C.realloc(C.malloc(100000), C.size_t(3000000+i))
					C.memset(big, 1, 3000000)
					C.free(big)
				}
			}
		}(w)
	}
	group.Wait()
	close(blocks)
	drained.Wait()
	var total int64
	for _, each := range totals {
		total += each
	}
	out, _ := exec.Command("sh", "-c", "echo child").Output()
	fmt.Print(sum, " ", total, " ", string(out))
	os.Exit(5)
}

// SPDX-License-Identifier: Apache-2.0
package main

// #include <stdlib.h>
import "C"
import "os"

func main() {
	C.free(nil)
	os.WriteFile("cgo.out", []byte("hello\n"), 0o644)
}

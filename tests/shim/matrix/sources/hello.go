// SPDX-License-Identifier: Apache-2.0
package main

import "os"

func main() {
	os.WriteFile("go.out", []byte("hello\n"), 0o644)
	os.Rename("go.out", "go.moved")
}

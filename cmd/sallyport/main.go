// Command sallyport answers who could, who did and who may run a command in a
// container.
package main

import (
	"os"

	"github.com/sallyport/sallyport/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }

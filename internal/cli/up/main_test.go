package up

import (
	"os"
	"testing"

	"github.com/sallyport/sallyport/testbed/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

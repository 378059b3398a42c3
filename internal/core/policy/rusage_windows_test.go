package policy

import (
	"testing"
	"time"
)

func userCPU(testing.TB) time.Duration { return 0 }

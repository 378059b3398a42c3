// Package wording writes numbers as a person reads them.
package wording

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Plural counts what has a regular plural.
func Plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// Duration rounds d to what a person reads.
func Duration(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Minute:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// Some names the first of a list, and how many more there are.
func Some(list []string) string {
	out := strings.Join(list[:min(len(list), someMax)], ", ")
	if n := len(list) - someMax; n > 0 {
		out += fmt.Sprintf(" and %d more", n)
	}
	return out
}

// someMax is how many names a line has.
const someMax = 8

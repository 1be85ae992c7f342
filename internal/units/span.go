package units

import (
	"strconv"
	"strings"
	"time"
)

// parseSpan reads a time span as systemd.time(7) has it: 90, 1min 30s, 2h. What has no end is
// the longest that there is. False means that it cannot be read.
func parseSpan(s string) (time.Duration, bool) {
	s = strings.TrimSpace(s)
	if s == "infinity" || s == "0" { // for timeouts both are none
		return 1<<63 - 1, true
	}
	var total float64
	for s != "" {
		number := s[:len(s)-len(strings.TrimLeft(s, "0123456789."))]
		s = strings.TrimLeft(s[len(number):], " ")
		unit := s[:len(s)-len(strings.TrimLeft(s, "abcdefghijklmnopqrstuvwxyzM"))]
		s = strings.TrimLeft(s[len(unit):], " ")
		n, err := strconv.ParseFloat(number, 64)
		scale := scaleOf(unit)
		if err != nil || scale == 0 {
			return 0, false
		}
		total += n * float64(scale)
	}
	if total <= 0 || total > float64(1<<62) {
		return 0, false
	}
	return time.Duration(total), true
}

func scaleOf(unit string) time.Duration {
	switch unit {
	case "us", "usec":
		return time.Microsecond
	case "ms", "msec":
		return time.Millisecond
	case "", "s", "sec", "second", "seconds":
		return time.Second
	case "m", "min", "minute", "minutes":
		return time.Minute
	case "h", "hr", "hour", "hours":
		return time.Hour
	case "d", "day", "days":
		return 24 * time.Hour
	}
	return 0
}

package machines

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// patience bounds every wait for a condition: far above what anything takes.
const patience = 90 * time.Second

// Poll asks until the answer is nil, and gives up after 90 s or when ctx ends; the error
// then says what was waited for and the last answer.
func Poll(ctx context.Context, what string, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	const every = 50 * time.Millisecond
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		timer.Reset(every)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, errors.Join(context.Cause(ctx), err))
		}
	}
}

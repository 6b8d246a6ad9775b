package limits

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAKeyInUseStaysAndMemoryIsBounded: a flood of other keys neither forgets a cell that is
// asked for again nor is kept whole.
func TestAKeyInUseStaysAndMemoryIsBounded(t *testing.T) {
	const most = 1 << 10
	c, ctx := newCells(most, time.Now), context.Background()
	set, err := c.SetIfNotExistsWithTTL(ctx, "mine", 7, time.Second)
	require.NoError(t, err)
	require.True(t, set)
	set, err = c.SetIfNotExistsWithTTL(ctx, "mine", 8, time.Second)
	require.NoError(t, err)
	require.False(t, set, "it is there")
	for i := range 20 * most {
		_, err := c.SetIfNotExistsWithTTL(ctx, strconv.Itoa(i), 1, time.Second)
		require.NoError(t, err)
		value, _, err := c.GetWithTime(ctx, "mine")
		require.NoError(t, err)
		require.EqualValues(t, 7, value)
	}
	held := 0
	for i := range c.shards {
		held += len(c.shards[i].newer) + len(c.shards[i].older)
	}
	require.LessOrEqual(t, held, most+len(c.shards))
	swapped, err := c.CompareAndSwapWithTTL(ctx, "mine", 6, 9, time.Second)
	require.NoError(t, err)
	require.False(t, swapped, "another value is there")
	swapped, err = c.CompareAndSwapWithTTL(ctx, "mine", 7, 9, time.Second)
	require.NoError(t, err)
	require.True(t, swapped)
	swapped, err = c.CompareAndSwapWithTTL(ctx, "0", 1, 2, time.Second)
	require.NoError(t, err)
	require.False(t, swapped, "it fell out")
	value, _, err := c.GetWithTime(ctx, "0")
	require.NoError(t, err)
	require.EqualValues(t, -1, value)
}

package embedded

import (
	"context"

	spicedb "github.com/authzed/spicedb/pkg/embedded"
	core "github.com/authzed/spicedb/pkg/proto/core/v1"
)

// AskRaw asks at a pinned head, as CheckBulk does, about objects that no Ref can name.
func (c *Checker) AskRaw(ctx context.Context, req spicedb.CheckRequest) (spicedb.CheckResult, error) {
	head, err := c.datastore.HeadRevision(ctx)
	if err != nil {
		return spicedb.CheckResult{}, err
	}
	return c.permissions.Check(context.WithValue(ctx, pinKey{}, &pin{head: head}), req)
}

// Provable is the shape of one type.
func Provable(types map[string]*core.NamespaceDefinition, typ string) map[string][]string {
	return shapeOf("hash", types).of[typ]
}

// Granting is what of one type grants by itself.
func Granting(types map[string]*core.NamespaceDefinition, typ string) map[string][]string {
	return shapeOf("hash", types).grants[typ]
}

package schema

import (
	"context"
	"fmt"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentid-dev/agentid"
)

// Apply writes the built-in schema where it differs from the one in place. It is
// idempotent: changed is false when nothing was written, and the zookie then names the
// revision that was read. A schema that would orphan relationships is refused with
// KindConflict; a graph that cannot be reached is KindUnavailable.
func Apply(ctx context.Context, client v1.SchemaServiceClient) (changed bool, at agentid.Zookie, err error) {
	text, err := builtinText()
	if err != nil {
		return false, "", fmt.Errorf("compose the built-in schema: %w", err)
	}
	return ApplyText(ctx, client, text)
}

// ApplyText is Apply for a text that Compose made.
func ApplyText(ctx context.Context, client v1.SchemaServiceClient, text string) (changed bool, at agentid.Zookie, err error) {
	if err := check(text); err != nil {
		return false, "", err
	}
	current, err := client.ReadSchema(ctx, &v1.ReadSchemaRequest{})
	switch {
	case status.Code(err) == codes.NotFound:
		// Nothing is in place yet.
	case err != nil:
		return false, "", agentid.Unavailable("graph_unavailable", fmt.Errorf("read the schema: %w", err))
	case current.GetSchemaText() == text:
		return false, agentid.Zookie(current.GetReadAt().GetToken()), nil
	default:
		diff, err := client.DiffSchema(ctx, &v1.DiffSchemaRequest{ComparisonSchema: text})
		if err != nil {
			return false, "", writeError(err)
		}
		if len(diff.GetDiffs()) == 0 {
			return false, agentid.Zookie(diff.GetReadAt().GetToken()), nil
		}
	}
	written, err := client.WriteSchema(ctx, &v1.WriteSchemaRequest{Schema: text})
	if err != nil {
		return false, "", writeError(err)
	}
	return true, agentid.Zookie(written.GetWrittenAt().GetToken()), nil
}

// Current reads the schema in place; "" when there is none.
func Current(ctx context.Context, client v1.SchemaServiceClient) (string, error) {
	current, err := client.ReadSchema(ctx, &v1.ReadSchemaRequest{})
	if status.Code(err) == codes.NotFound {
		return "", nil
	}
	if err != nil {
		return "", agentid.Unavailable("graph_unavailable", fmt.Errorf("read the schema: %w", err))
	}
	return current.GetSchemaText(), nil
}

// ReasonInUse is the reason of a schema that would orphan relationships.
const ReasonInUse = "schema_in_use"

// writeError reads the refusal of a text that passed check: what SpiceDB finds wrong with
// it then is the data. Its message names a relationship, so it stays in the cause.
func writeError(err error) error {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.FailedPrecondition:
		return agentid.Errorf(agentid.KindConflict, ReasonInUse, "relationships still need what the new schema takes away").WithCause(err)
	default:
		return agentid.Unavailable("graph_unavailable", fmt.Errorf("write the schema: %w", err))
	}
}

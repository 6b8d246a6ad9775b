// Package bulk writes checks as SpiceDB's CheckBulkPermissions and reads its answer. The
// embedded and the remote checker share it; it does no I/O and chooses no consistency.
package bulk

import (
	"errors"
	"fmt"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/policy"
)

// Request composes the bulk call.
func Request(checks []policy.Check, consistency *v1.Consistency) *v1.CheckBulkPermissionsRequest {
	// One array for each kind of message: a bulk has up to some hundred items.
	type parts struct {
		item     v1.CheckBulkPermissionsRequestItem
		resource v1.ObjectReference
		subject  v1.SubjectReference
		object   v1.ObjectReference
	}
	all := make([]parts, len(checks))
	items := make([]*v1.CheckBulkPermissionsRequestItem, len(checks))
	for i, c := range checks {
		p := &all[i]
		p.resource.ObjectType, p.resource.ObjectId = c.Resource.Type(), c.Resource.ObjectID()
		p.object.ObjectType, p.object.ObjectId = c.Subject.Type(), c.Subject.ObjectID()
		p.subject.Object = &p.object
		p.item.Resource, p.item.Permission, p.item.Subject = &p.resource, c.Permission, &p.subject
		p.item.Context = c.Inputs.Struct()
		items[i] = &p.item
	}
	return &v1.CheckBulkPermissionsRequest{Consistency: consistency, Items: items}
}

// key is what an answer echoes, its context aside.
type key struct{ resourceType, resourceID, permission, subjectType, subjectID string }

// Answers matches each pair with the check that it echoes, context included. A pair
// that echoes no check of ours is an error of the whole: somebody answered something
// else. An item's own error stays with its answer.
func Answers(checks []policy.Check, resp *v1.CheckBulkPermissionsResponse) (agentid.Zookie, []policy.Answer, error) {
	index := make(map[key][]policy.Check, len(checks))
	for _, c := range checks {
		k := key{c.Resource.Type(), c.Resource.ObjectID(), c.Permission, c.Subject.Type(), c.Subject.ObjectID()}
		index[k] = append(index[k], c)
	}
	answers := make([]policy.Answer, 0, len(resp.GetPairs()))
	for _, pair := range resp.GetPairs() {
		check, err := echoed(index, pair.GetRequest())
		if err != nil {
			return "", nil, err
		}
		answers = append(answers, answer(check, pair))
	}
	return agentid.Zookie(resp.GetCheckedAt().GetToken()), answers, nil
}

func echoed(index map[key][]policy.Check, r *v1.CheckBulkPermissionsRequestItem) (policy.Check, error) {
	if r.GetSubject().GetOptionalRelation() == "" {
		k := key{
			r.GetResource().GetObjectType(), r.GetResource().GetObjectId(), r.GetPermission(),
			r.GetSubject().GetObject().GetObjectType(), r.GetSubject().GetObject().GetObjectId(),
		}
		for _, c := range index[k] {
			if sameContext(c.Inputs.Struct(), r.GetContext()) {
				return c, nil
			}
		}
	}
	return policy.Check{}, errors.New("the graph answered a check that was not asked")
}

func sameContext(sent, echo *structpb.Struct) bool {
	if len(sent.GetFields()) == 0 || len(echo.GetFields()) == 0 {
		return len(sent.GetFields()) == len(echo.GetFields())
	}
	return proto.Equal(sent, echo)
}

func answer(check policy.Check, pair *v1.CheckBulkPermissionsPair) policy.Answer {
	if st := pair.GetError(); st != nil {
		return policy.Answer{Check: check, Err: Error(status.ErrorProto(st))}
	}
	item := pair.GetItem()
	out := policy.Answer{Check: check}
	switch item.GetPermissionship() {
	case v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION:
		out.Verdict = policy.VerdictYes
	case v1.CheckPermissionResponse_PERMISSIONSHIP_NO_PERMISSION:
		out.Verdict = policy.VerdictNo
	case v1.CheckPermissionResponse_PERMISSIONSHIP_CONDITIONAL_PERMISSION:
		out.Verdict = policy.VerdictConditional
		out.Missing = item.GetPartialCaveatInfo().GetMissingRequiredContext()
	default:
		out.Err = fmt.Errorf("the graph gave no permissionship: %s", item.GetPermissionship())
	}
	return out
}

// Error gives SpiceDB's errors the kinds of a Checker: a caveat that cannot take an
// input becomes KindInvalid naming it; the rest stays as it is.
func Error(err error) error {
	st, ok := status.FromError(err)
	if !ok || st.Code() != codes.InvalidArgument {
		return err
	}
	for _, detail := range st.Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if !ok {
			continue
		}
		if name := info.GetMetadata()["parameter_name"]; name != "" {
			return agentid.Invalidf("inputs."+name, "is of a type that the tenant's policy cannot take").WithCause(err)
		}
	}
	return err
}

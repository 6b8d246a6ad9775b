package kubernetes_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/federationtest"
	"github.com/agentid-dev/agentid/federation/jwtsource"
	"github.com/agentid-dev/agentid/federation/kubernetes"
)

// claims are those of a projected token, as the API server documents them.
func claims() map[string]any {
	return map[string]any{
		"sub": "system:serviceaccount:prod:refunds",
		"jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a",
		"kubernetes.io": map[string]any{
			"namespace":      "prod",
			"node":           map[string]any{"name": "node-1", "uid": "58456cb0-dd00-45ed-b797-5578fdceaced"},
			"pod":            map[string]any{"name": "refunds-7b9d", "uid": "778a530c-b3f4-47c0-9cd5-ab018fb64f33"},
			"serviceaccount": map[string]any{"name": "refunds", "uid": "a087d5a0-e1dd-43ec-93ac-f13d89cd13af"},
			"warnafter":      1_790_000_100,
		},
	}
}

func source(t *testing.T, issuer *federationtest.Issuer) federation.Source {
	s, err := jwtsource.New(kubernetes.Profile(), issuer.URL(), federationtest.Keys(t, issuer))
	require.NoError(t, err)
	return s
}

func TestSuite(t *testing.T) {
	federationtest.Run(t, federationtest.Subject{New: source, Claims: claims(), Required: kubernetes.Profile().Required})
}

func TestSubjectIsTheServiceAccount(t *testing.T) {
	issuer := federationtest.NewIssuer(t)
	s := source(t, issuer)
	good := federationtest.Subject{Claims: claims()}.Good(issuer)
	id, _, err := s.Verify(t.Context(), federationtest.Present(issuer.Sign(good)))
	require.NoError(t, err)
	pod, _ := id.Claims.Text("kubernetes.io.pod.name")
	require.Equal(t, "refunds-7b9d", pod)
	require.Equal(t, "ea28ed49-2e11-4280-9ec5-bc3d1d84661a", id.ID)
	good["sub"] = "system:serviceaccount:prod:admin"
	_, _, err = s.Verify(t.Context(), federationtest.Present(issuer.Sign(good)))
	require.Equal(t, "sub", agentid.AsError(err).Field)
}

// TestSharedDefaultAudienceIsRefusedInARule: every pod's default token has the API
// server's audience, and could be replayed by whoever it is shown to.
func TestSharedDefaultAudienceIsRefusedInARule(t *testing.T) {
	r, err := federation.Require(map[string]federation.Match{"sub": {Is: "system:serviceaccount:prod:refunds"}})
	require.NoError(t, err)
	for _, shared := range []string{"https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local", "sts.amazonaws.com", "api", ""} {
		require.Equal(t, "audience", agentid.AsError(kubernetes.Profile().CheckRule(shared, r)).Field, shared)
	}
	require.NoError(t, kubernetes.Profile().CheckRule("https://broker.example/acme", r))
	loose, err := federation.Require(map[string]federation.Match{"kubernetes.io.namespace": {Is: "prod"}})
	require.NoError(t, err)
	require.Equal(t, "claims", agentid.AsError(kubernetes.Profile().CheckRule("https://broker.example/acme", loose)).Field)
}

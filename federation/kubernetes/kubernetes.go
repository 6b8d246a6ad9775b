// Package kubernetes takes projected service account tokens of a cluster.
//
// A token names the namespace and the service account, and with bound tokens the pod. The
// keys come from the cluster's issuer, or as a static document where the API server cannot
// be reached. Workloads ask for a token with our audience; the API server's own audience is
// refused in a rule, because every pod's default token has it.
package kubernetes

import (
	"strings"

	"github.com/agentid-dev/agentid/federation"
	"github.com/agentid-dev/agentid/federation/jwtsource"
)

// Kind is the source's kind.
const Kind = "kubernetes"

const subjectPrefix = "system:serviceaccount:"

// Profile is what is particular to Kubernetes.
func Profile() jwtsource.Profile {
	return jwtsource.Profile{
		Kind:     Kind,
		Required: []string{"kubernetes.io.namespace", "kubernetes.io.serviceaccount.name", "kubernetes.io.serviceaccount.uid"},
		Binding:  []string{"sub", "kubernetes.io.serviceaccount.uid"},
		Check:    check,
		Shared: func(audience string) bool {
			return strings.HasPrefix(audience, "https://kubernetes.default") || audience == "kubernetes.default.svc" ||
				audience == "api" || audience == "sts.amazonaws.com" || strings.HasPrefix(audience, "api://AzureADTokenExchange")
		},
	}
}

// check holds the subject against the names beside it.
func check(c federation.Claims) error {
	subject, _ := c.Text("sub")
	namespace, _ := c.Text("kubernetes.io.namespace")
	account, _ := c.Text("kubernetes.io.serviceaccount.name")
	if subject != subjectPrefix+namespace+":"+account {
		return federation.Refuse(federation.ReasonClaim, "sub", "is not the service account that the token names", nil)
	}
	return nil
}

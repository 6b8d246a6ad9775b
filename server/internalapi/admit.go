package internalapi

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net/http"

	"github.com/agentid-dev/agentid"
	"github.com/agentid-dev/agentid/internal/fleetcert"
	"github.com/agentid-dev/agentid/internal/httperr"
	"github.com/agentid-dev/agentid/internal/wire/api"
)

// Reasons of refusals that no repetition mends: somebody has to do what the message says.
const (
	ReasonCertificateMissing = "certificate_missing"
	ReasonCertificateExpired = "certificate_expired"
	ReasonNotAdmitted        = "gateway_not_admitted"
	ReasonVersion            = "protocol_version"
	ReasonCluster            = "cluster_mismatch"
)

// ReasonIncarnation tells a gateway to drop what it remembers and to subscribe again.
const ReasonIncarnation = "incarnation_mismatch"

// incarnation says whether a call must name the ledger's life that it belongs to. The
// zero incarnation is the strict one.
type incarnation int

const (
	sameIncarnation incarnation = iota
	anyIncarnation              // the call that learns it
)

// admit refuses whoever is not a gateway of this cluster, of this release, talking of
// this life of the ledger.
func (a *API) admit(r *http.Request, want incarnation) (peer, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return peer{}, agentid.Errorf(agentid.KindUnauthenticated, ReasonCertificateMissing, "a gateway shows a client certificate; agentid fleet certificate makes one")
	}
	return a.check(r.Context(), r.TLS.PeerCertificates[0], r.Header.Get, want)
}

// Admit is the check for calls that come another way, such as the graph's read-only
// port: header gives the call's metadata by the names in internal/wire/api.
func (a *API) Admit(ctx context.Context, cert *x509.Certificate, header func(name string) string) error {
	_, err := a.check(ctx, cert, header, sameIncarnation)
	return err
}

func (a *API) check(ctx context.Context, cert *x509.Certificate, header func(string) string, want incarnation) (peer, error) {
	id, err := a.identify(cert)
	if err != nil {
		return peer{}, err
	}
	if got := header(api.HeaderVersion); got != api.Version {
		return peer{}, agentid.Errorf(agentid.KindConflict, ReasonVersion,
			"the broker speaks version %s of the internal protocol, the gateway %q: run the same release on both sides", api.Version, bounded(got))
	}
	if got := header(api.HeaderCluster); got != a.cfg.Roster.Cluster {
		return peer{}, agentid.Errorf(agentid.KindForbidden, ReasonCluster,
			"the gateway is of cluster %q, the broker of %q: correct broker.url or fleet.cluster, or make a certificate in this cluster", bounded(got), a.cfg.Roster.Cluster)
	}
	if want == anyIncarnation {
		return peer{id, cert}, nil
	}
	_, _, current, err := a.cfg.Fleet.Floor(ctx)
	if err != nil {
		return peer{}, err
	}
	if header(api.HeaderIncarnation) != current {
		return peer{}, agentid.Errorf(agentid.KindConflict, ReasonIncarnation,
			"the broker's data was restored since the gateway subscribed: it drops what it remembers and subscribes again")
	}
	return peer{id, cert}, nil
}

func (a *API) identify(cert *x509.Certificate) (fleetcert.Identity, error) {
	// The handshake looked at the certificate's time once; a connection may outlive it.
	if now := a.cfg.Now(); now.After(cert.NotAfter) || now.Before(cert.NotBefore) {
		return fleetcert.Identity{}, agentid.Errorf(agentid.KindUnauthenticated, ReasonCertificateExpired,
			"the gateway's certificate ran out: renew it with agentid fleet certificate; it is read again without a restart")
	}
	id, err := a.cfg.Roster.Identify(cert)
	if err != nil {
		return fleetcert.Identity{}, agentid.Errorf(agentid.KindForbidden, ReasonNotAdmitted, "%s", err.Error()).WithCause(err)
	}
	return id, nil
}

// bounded keeps a stranger's text short.
func bounded(s string) string {
	const most = 64
	return s[:min(len(s), most)]
}

// render writes an error with its kind, which a gateway takes on as its own.
func render(w http.ResponseWriter, _ *http.Request, err error) {
	body, merr := json.Marshal(api.ProblemOf(err))
	if merr != nil {
		body = []byte(`{"kind":"internal","reason":"internal"}`)
	}
	a := httperr.Of(err)
	httperr.Write(w, a, a.Status, "application/json", body)
}

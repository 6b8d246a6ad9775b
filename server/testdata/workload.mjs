// oauth4webapi is a workload's client: it brings the token of its platform as an assertion
// grant (RFC 7523), as a subject token (RFC 8693) and as a client assertion, each with a
// DPoP key of its own. Everything comes by the environment; the last line printed is a
// JSON report.
import assert from 'node:assert/strict'
import * as oauth from 'oauth4webapi'

const env = process.env
const insecure = { [oauth.allowInsecureRequests]: true } // loopback without TLS
const issuer = new URL(env.ISSUER)
const as = await oauth.processDiscoveryResponse(
  issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure }))
const client = { client_id: env.SUBJECT }
const assertions = JSON.parse(env.ASSERTIONS) // each is used once
const jwtBearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
assert.ok(as.grant_types_supported.includes(jwtBearer) && as.grant_types_supported.includes(exchange))

const bearer = (assertion) => [jwtBearer, { assertion }]
const subject = (subject_token) => [exchange, { subject_token, subject_token_type: 'urn:ietf:params:oauth:token-type:jwt' }]

async function ask(DPoP, auth, grant, parameters) {
  const all = { resource: env.RESOURCE, authorization_details: env.DETAILS, ...parameters }
  for (let attempt = 0; ; attempt++) {
    const response = await oauth.genericTokenEndpointRequest(as, client, auth, grant, all, { DPoP, ...insecure })
    try {
      return await oauth.processGenericTokenEndpointResponse(as, client, response)
    } catch (err) {
      if (attempt > 0 || !oauth.isDPoPNonceError(err)) throw err
    }
  }
}
const newKey = async () => oauth.DPoP(client, await oauth.generateKeyPair('ES256'))
const claims = (t) => JSON.parse(Buffer.from(t.access_token.split('.')[1], 'base64url'))

// 1. Two ways, one agent: the identity and the key make it.
const own = await newKey()
const first = await ask(own, oauth.None(), ...bearer(assertions.pop()))
assert.equal(first.token_type, 'dpop')
assert.equal(first.refresh_token, undefined)
const second = await ask(own, oauth.None(), ...subject(assertions.pop()))
assert.equal(second.issued_token_type, 'urn:ietf:params:oauth:token-type:access_token')
assert.equal(claims(second).client_id, claims(first).client_id)
const asClient = (assertion) => (_as, _client, body) => {
  body.set('client_assertion', assertion)
  body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
}
const third = await ask(own, asClient(assertions.pop()), 'client_credentials', {})
assert.equal(claims(third).client_id, claims(first).client_id)

// 2. Another key is another agent, of the same type and principal.
const other = await ask(await newKey(), oauth.None(), ...bearer(assertions.pop()))
assert.notEqual(claims(other).client_id, claims(first).client_id)
assert.equal(claims(other).sub, claims(first).sub)

// 3. Refusals arrive as the standard has them, and say nothing more.
const refused = (promise, error, status) => assert.rejects(promise, (e) => {
  assert.equal(e.error ?? e.cause?.[0]?.parameters?.error, error, String(e))
  assert.equal(e.status, status)
  return true
})
const stolen = assertions.pop()
await ask(own, oauth.None(), ...bearer(stolen))
await refused(newKey().then((k) => ask(k, oauth.None(), ...bearer(stolen))), 'invalid_grant', 400)
await refused(ask(own, oauth.None(), ...bearer(env.FOREIGN)), 'invalid_grant', 400)
await refused(ask(own, oauth.None(), ...subject(env.FOREIGN)), 'invalid_request', 400)
await refused(ask(own, asClient(env.FOREIGN), 'client_credentials', {}), 'invalid_client', 401)
await refused(oauth.genericTokenEndpointRequest(as, client, oauth.None(), ...bearer(assertions.pop()), insecure)
  .then((r) => oauth.processGenericTokenEndpointResponse(as, client, r)), 'invalid_dpop_proof', 400)

console.log(JSON.stringify({ ok: true }))

// An independent OAuth client judges the broker: discovery, client authentication,
// DPoP with nonces, the RFC 9068 profile, introspection (plain and signed), revocation.
// Everything comes by the environment; the last line printed is a JSON report.
import assert from 'node:assert/strict'
import * as oauth from 'oauth4webapi'

const env = process.env
const insecure = { [oauth.allowInsecureRequests]: true } // loopback without TLS
const issuer = new URL(env.ISSUER)

async function privateKey(jwk) {
  const { alg, use, kid, key_ops, ...bare } = jwk
  const algorithm = bare.kty === 'OKP' ? { name: 'Ed25519' } : { name: 'ECDSA', namedCurve: bare.crv }
  const { d, ...pub } = bare
  return {
    privateKey: await crypto.subtle.importKey('jwk', bare, algorithm, false, ['sign']),
    publicKey: await crypto.subtle.importKey('jwk', pub, algorithm, true, ['verify']),
  }
}

// 1. Discovery, by both well-known forms that the library knows.
const as = await oauth.processDiscoveryResponse(
  issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure }))
const oidc = await oauth.processDiscoveryResponse(
  issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oidc', ...insecure }))
assert.deepEqual(as, oidc)
assert.ok(!as.token_endpoint_auth_signing_alg_values_supported.includes('none'))

// 2. private_key_jwt and DPoP. The first attempt is told a nonce.
const keys = await privateKey(JSON.parse(env.AGENT_KEY))
const client = { client_id: env.CLIENT_ID }
const auth = oauth.PrivateKeyJwt(keys.privateKey)
const dpop = oauth.DPoP(client, keys)
const parameters = { authorization_details: env.DETAILS, resource: env.RESOURCE }

async function mint() {
  const response = await oauth.clientCredentialsGrantRequest(as, client, auth, parameters, { DPoP: dpop, ...insecure })
  return oauth.processClientCredentialsResponse(as, client, response)
}
let challenged = false
let token
try {
  token = await mint()
} catch (err) {
  assert.ok(oauth.isDPoPNonceError(err), String(err))
  challenged = true
  token = await mint()
}
assert.ok(challenged, 'the first proof had no nonce and was not challenged')
assert.equal(token.token_type, 'dpop')
assert.ok(token.expires_in > 0 && token.expires_in <= 3600)
assert.equal(token.scope, env.SCOPE)
assert.equal(token.authorization_details.length, 1)

// 3. The access token profile, checked as a resource server would.
const url = new URL(env.RESOURCE + '/v1/refunds')
let presented
await oauth.protectedResourceRequest(token.access_token, 'POST', url, undefined, undefined, {
  DPoP: dpop,
  ...insecure,
  [oauth.customFetch]: async (u, init) => {
    presented = new Request(u, { method: init.method, headers: init.headers })
    return new Response('{}', { status: 200 })
  },
})
const claims = await oauth.validateJwtAccessToken(as, presented, env.RESOURCE, { requireDPoP: true, ...insecure })
assert.equal(claims.client_id, env.CLIENT_ID)
assert.deepEqual(Object.keys(claims.cnf), ['jkt'])
await assert.rejects(oauth.validateJwtAccessToken(as, presented, 'https://elsewhere.example', { requireDPoP: true, ...insecure }))

// 4. Introspection by the connector's service client, plain and signed.
const service = { client_id: env.SERVICE_ID, introspection_signed_response_alg: env.SIGNING_ALG }
const serviceAuth = oauth.ClientSecretBasic(env.SERVICE_SECRET)
async function introspect(who, how, requestJwtResponse) {
  const response = await oauth.introspectionRequest(as, who, how, token.access_token, { requestJwtResponse, ...insecure })
  const kind = response.headers.get('content-type')
  const answer = await oauth.processIntrospectionResponse(as, who, response)
  if (requestJwtResponse) {
    assert.equal(kind, 'application/token-introspection+jwt')
    await oauth.validateApplicationLevelSignature(as, response, insecure)
  }
  return answer
}
const plain = await introspect(service, serviceAuth, false)
assert.equal(plain.active, true)
assert.equal(plain.jti, claims.jti)
assert.equal(plain.cnf.jkt, claims.cnf.jkt)
const signed = await introspect(service, serviceAuth, true)
assert.deepEqual(signed, plain)
const own = await introspect(client, auth, false)
assert.equal(own.active, true)

// 5. Revocation, and what is left of the token.
await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, token.access_token, insecure))
assert.deepEqual(await introspect(service, serviceAuth, false), { active: false })
assert.deepEqual(await introspect(client, auth, false), { active: false })
assert.deepEqual(await introspect(service, serviceAuth, true), { active: false })
// An unknown token is answered like one that was revoked.
await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, 'unknown', insecure))

// 6. A client with another key is refused as an OAuth client expects it.
const stranger = await oauth.generateKeyPair('ES256')
await assert.rejects(
  oauth.clientCredentialsGrantRequest(as, client, oauth.PrivateKeyJwt(stranger.privateKey), parameters, insecure)
    .then((r) => oauth.processClientCredentialsResponse(as, client, r)),
  (err) => err instanceof oauth.WWWAuthenticateChallengeError && err.status === 401 && err.cause[0].parameters.error === 'invalid_client')

console.log(JSON.stringify({ ok: true, challenged, jti: claims.jti, algorithm: env.SIGNING_ALG }))

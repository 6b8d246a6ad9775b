// openid-client, a relying party's library, judges the broker: discovery by both forms,
// private_key_jwt, DPoP with nonces, a token by client credentials, its exchange,
// introspection and revocation. Everything comes by the environment; the last line printed is a JSON report.
import assert from 'node:assert/strict'
import * as client from 'openid-client'

const env = process.env

async function keys(jwk) {
  const { alg, use, kid, key_ops, ...priv } = JSON.parse(jwk)
  const { d, ...pub } = priv
  const algorithm = { name: 'ECDSA', namedCurve: priv.crv }
  return {
    privateKey: await crypto.subtle.importKey('jwk', priv, algorithm, false, ['sign']),
    publicKey: await crypto.subtle.importKey('jwk', pub, algorithm, true, ['verify']),
  }
}

async function discover(id, jwk, algorithm) {
  const pair = await keys(jwk)
  const config = await client.discovery(new URL(env.ISSUER), id, undefined, client.PrivateKeyJwt(pair.privateKey),
    { algorithm, execute: [client.allowInsecureRequests] })
  return { config, DPoP: client.getDPoPHandle(config, pair) }
}

// 1. Discovery, as OpenID Connect and as OAuth have it.
const parent = await discover(env.PARENT_ID, env.PARENT_KEY, 'oidc')
const child = await discover(env.CHILD_ID, env.CHILD_KEY, 'oauth2')
assert.deepEqual(parent.config.serverMetadata(), child.config.serverMetadata())
assert.equal(parent.config.serverMetadata().issuer, env.ISSUER)

// 2. A token, and a narrower one for a child by exchange. openid-client repeats a request that is told a nonce by itself.
const token = await client.clientCredentialsGrant(parent.config,
  { authorization_details: env.DETAILS, resource: env.RESOURCE }, { DPoP: parent.DPoP })
assert.equal(token.token_type, 'dpop')
assert.equal(token.scope, env.SCOPE)
const exchanged = await client.genericGrantRequest(child.config, 'urn:ietf:params:oauth:grant-type:token-exchange', {
  subject_token: token.access_token,
  subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
  resource: env.RESOURCE,
}, { DPoP: child.DPoP })
assert.equal(exchanged.token_type, 'dpop')
assert.equal(exchanged.issued_token_type, 'urn:ietf:params:oauth:token-type:access_token')

// 3. Each sees its own token, and not the other's.
const own = await client.tokenIntrospection(child.config, exchanged.access_token)
assert.equal(own.active, true)
assert.equal(own.client_id, env.CHILD_ID)
assert.equal(own.act.sub, env.CHILD_ID)
assert.ok(own.exp <= (await client.tokenIntrospection(parent.config, token.access_token)).exp)

// 4. What the parent revokes, its child's token falls with.
await client.tokenRevocation(parent.config, token.access_token)
assert.deepEqual(await client.tokenIntrospection(parent.config, token.access_token), { active: false })
assert.deepEqual(await client.tokenIntrospection(child.config, exchanged.access_token), { active: false })

// 5. Refusals arrive as the standard has them.
const refused = (promise, error, status) => assert.rejects(promise, (e) => {
  assert.ok(e instanceof client.ResponseBodyError || e instanceof client.WWWAuthenticateChallengeError, String(e))
  const code = e.error ?? e.cause[0].parameters.error
  assert.equal(code, error, String(code))
  assert.equal(e.status, status)
  return true
})
const again = () => client.genericGrantRequest(child.config, 'urn:ietf:params:oauth:grant-type:token-exchange', {
  subject_token: token.access_token, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', resource: env.RESOURCE,
}, { DPoP: child.DPoP })
await refused(again(), 'invalid_request', 400)
await refused(client.clientCredentialsGrant(parent.config, { resource: env.RESOURCE }, { DPoP: parent.DPoP }), 'invalid_authorization_details', 400)
await refused(client.clientCredentialsGrant(parent.config, { authorization_details: env.DETAILS, resource: 'https://elsewhere.example' }, { DPoP: parent.DPoP }), 'invalid_target', 400)
await refused(client.genericGrantRequest(parent.config, 'password', { username: 'alice', password: 'x' }, { DPoP: parent.DPoP }), 'unsupported_grant_type', 400)
const stranger = await discover(env.PARENT_ID, env.CHILD_KEY, 'oidc')
await refused(client.clientCredentialsGrant(stranger.config, { authorization_details: env.DETAILS, resource: env.RESOURCE }, { DPoP: stranger.DPoP }), 'invalid_client', 401)

console.log(JSON.stringify({ ok: true }))

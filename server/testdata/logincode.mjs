// openid-client signs a person in through the broker: discovery, authorization code with
// PKCE, state and iss, and refresh tokens that are used once. It prints the URL that the
// person has to open, reads from its standard input where they were sent back to, and
// prints a JSON report.
import assert from 'node:assert/strict'
import readline from 'node:readline'
import * as client from 'openid-client'

const env = process.env
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const ask = async (url) => {
  console.log(JSON.stringify({ open: url.href }))
  return new URL((await lines.next()).value)
}

const config = await client.discovery(new URL(env.ISSUER), env.CLIENT_ID, undefined, client.None(),
  { algorithm: 'oauth2', execute: [client.allowInsecureRequests] })
const server = config.serverMetadata()
assert.equal(server.authorization_response_iss_parameter_supported, true)
assert.deepEqual(server.code_challenge_methods_supported, ['S256'])

async function begin() {
  const pkceCodeVerifier = client.randomPKCECodeVerifier()
  const expectedState = client.randomState()
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: env.REDIRECT_URI, state: expectedState,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier), code_challenge_method: 'S256',
  })
  return { url, checks: { pkceCodeVerifier, expectedState } }
}
const refused = (promise, error) => assert.rejects(promise, (e) => {
  assert.equal(e.error, error, String(e.cause ?? e))
  return true
})

// 1. A person signs in: code, tokens, and the same code again.
const first = await begin()
const back = await ask(first.url)
const tokens = await client.authorizationCodeGrant(config, back, first.checks)
assert.ok(tokens.access_token && tokens.refresh_token)
await refused(client.authorizationCodeGrant(config, back, first.checks), 'invalid_grant')

// 2. The second use of the code took the tokens with it.
await refused(client.refreshTokenGrant(config, tokens.refresh_token), 'invalid_grant')

// 3. Refresh tokens are used once; the use of an old one ends the session.
const second = await begin()
const session = await client.authorizationCodeGrant(config, await ask(second.url), second.checks)
const next = await client.refreshTokenGrant(config, session.refresh_token)
assert.notEqual(next.refresh_token, session.refresh_token)
await refused(client.refreshTokenGrant(config, session.refresh_token), 'invalid_grant')
await refused(client.refreshTokenGrant(config, next.refresh_token), 'invalid_grant')

// 4. Another verifier, and none, get nothing; an answer of another issuer is not looked at.
const third = await begin()
const stolen = await ask(third.url)
const foreign = new URL(stolen)
foreign.searchParams.set('iss', 'https://elsewhere.example')
await assert.rejects(client.authorizationCodeGrant(config, foreign, third.checks))
await refused(client.authorizationCodeGrant(config, stolen, { ...third.checks, pkceCodeVerifier: client.randomPKCECodeVerifier() }), 'invalid_grant')

console.log(JSON.stringify({ ok: true }))
process.exit(0)

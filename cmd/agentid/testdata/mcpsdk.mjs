// The MCP SDK's own way to a token without a person: it reads the gateway's protected
// resource metadata, discovers the broker from there, authenticates with private_key_jwt,
// and calls. Everything comes by the environment; the last line printed is a JSON report.
import assert from 'node:assert/strict'
import { auth, extractWWWAuthenticateParams } from '@modelcontextprotocol/sdk/client/auth.js'
import { PrivateKeyJwtProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js'

const env = process.env

// provider adds what the token is for: the SDK has no field for authorization_details.
function provider(key, expectedIssuer = env.ISSUER) {
  const p = new PrivateKeyJwtProvider({ clientId: env.CLIENT_ID, privateKey: JSON.parse(key), algorithm: 'ES256', expectedIssuer, scope: env.SCOPE })
  const prepare = p.prepareTokenRequest.bind(p)
  p.prepareTokenRequest = (scope) => {
    const params = prepare(scope)
    params.set('authorization_details', env.DETAILS)
    return params
  }
  return p
}

const call = (token) => fetch(env.RESOURCE + '/v1/charges/ch_ada', token && { headers: { authorization: `Bearer ${token}` } })

// 1. Without a token the gateway says where one is to be had.
const bare = await call()
assert.equal(bare.status, 401)
const { resourceMetadataUrl } = extractWWWAuthenticateParams(bare)

// 2. The SDK finds the broker from there, and gets a token for this resource.
const mine = provider(env.CLIENT_KEY)
assert.equal(await auth(mine, { serverUrl: env.RESOURCE, resourceMetadataUrl }), 'AUTHORIZED')
const { access_token, token_type, scope } = mine.tokens()
assert.equal(token_type.toLowerCase(), 'bearer')
assert.equal(scope, env.SCOPE)
const answer = await call(access_token)
assert.equal(answer.status, 200, await answer.clone().text())
assert.equal((await answer.json()).id, 'ch_ada')

// 3. Another key gets none, and the SDK keeps its client from a broker that it does not know.
await assert.rejects(auth(provider(env.OTHER_KEY), { serverUrl: env.RESOURCE, resourceMetadataUrl }))
await assert.rejects(auth(provider(env.CLIENT_KEY, 'https://elsewhere.example'), { serverUrl: env.RESOURCE, resourceMetadataUrl }))

console.log(JSON.stringify({ ok: true }))

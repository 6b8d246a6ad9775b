// A certified OpenID provider (npm oidc-provider) on loopback, told what it is by lines
// of JSON on its standard input: users, clients, resources, signing keys. Each line
// replaces all of that, on the same port, and is answered by {"issuer": "...", "port": N}. It
// ends with its standard input.
import http from 'node:http'
import readline from 'node:readline'
import { Provider } from 'oidc-provider'

console.info = console.error // standard output carries our answers only

const escape = (s) => String(s ?? '').replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)
const scopes = 'openid email profile groups offline_access'
let provider
let config
let built // of which keys and clients

function build(issuer) {
  const p = new Provider(issuer, {
    jwks: config.jwks,
    clients: config.clients,
    cookies: { keys: ['cookies-of-a-test'] },
    pkce: { required: () => true },
    scopes: scopes.split(' '),
    claims: {
      openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username'], groups: ['groups'],
    },
    conformIdTokenClaims: false, // the claims of a scope are in the ID token too
    async findAccount(ctx, id) {
      const user = config.users.find((u) => u.sub === id)
      return user && { accountId: id, claims: async () => ({ ...user, password: undefined }) }
    },
    async extraTokenClaims(ctx, token) {
      const user = config.users.find((u) => u.sub === token.accountId)
      return user && { groups: user.groups, email: user.email, email_verified: user.email_verified }
    },
    async loadExistingGrant(ctx) { // nobody is asked for consent
      const { client, session, provider: self, params } = ctx.oidc
      const id = ctx.oidc.result?.consent?.grantId ?? session.grantIdFor(client.clientId)
      const grant = (id && await self.Grant.find(id)) || new self.Grant({ clientId: client.clientId, accountId: session.accountId })
      grant.addOIDCScope(scopes)
      for (const r of [params.resource ?? []].flat()) grant.addResourceScope(r, 'api')
      await grant.save()
      return grant
    },
    issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    ttl: { AccessToken: 300, IdToken: 300, Interaction: 600, Session: 600, Grant: 600, RefreshToken: 600, DeviceCode: 600 },
    features: {
      devInteractions: { enabled: false },
      deviceFlow: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo(ctx, resource) {
          if (!config.resources.includes(resource)) throw new Error(`unknown resource ${resource}`)
          return { scope: 'api', audience: resource, accessTokenFormat: 'jwt', jwt: { sign: { alg: config.alg } } }
        },
      },
    },
  })
  p.on('server_error', (ctx, err) => console.error(err))
  return p
}

function page(uid, said) {
  return `<!doctype html><title>Sign in</title><h1>Sign in</h1><p id="said">${escape(said)}</p>
<form method="post" action="/interaction/${escape(uid)}">
<input name="username" autocomplete="username"><input name="password" type="password">
<button type="submit">Sign in</button></form>`
}

async function body(req) {
  const parts = []
  for await (const part of req) parts.push(part)
  return new URLSearchParams(Buffer.concat(parts).toString())
}

async function interaction(req, res) {
  const { uid } = await provider.interactionDetails(req, res)
  let said = ''
  if (req.method === 'POST') {
    const form = await body(req)
    const user = config.users.find((u) => u.preferred_username === form.get('username') && u.password === form.get('password'))
    if (user) return provider.interactionFinished(req, res, { login: { accountId: user.sub } })
    said = 'The name or the password is wrong.'
  }
  res.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page(uid, said))
}

const server = http.createServer((req, res) => {
  if (!req.url.startsWith('/interaction/')) return provider.callback()(req, res)
  interaction(req, res).catch((err) => res.writeHead(400, { 'content-type': 'text/plain' }).end(String(err)))
})

for await (const line of readline.createInterface({ input: process.stdin })) {
  config = JSON.parse(line)
  if (!server.listening) await new Promise((done, fail) => server.once('error', fail).listen(config.port, '127.0.0.1', done))
  const { port } = server.address()
  const issuer = `http://127.0.0.1:${port}`
  const fixed = JSON.stringify([config.jwks, config.clients])
  if (fixed !== built) { // people who change leave sessions and tokens alone
    built = fixed
    provider = build(issuer)
  }
  console.log(JSON.stringify({ issuer, port }))
}
process.exit(0)

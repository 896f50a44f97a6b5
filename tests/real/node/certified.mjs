// `oidc-provider`, a certified OpenID provider: node certified.mjs PORT '{"people": {"alice": {"name": "Alice"}}}'
//
// Clients register by themselves (RFC 7591). Whoever is among `people` signs in with any password and agrees to all that
// is asked. PKCE with S256 is demanded of everyone. /control/requests lists what the endpoints for clients were sent, so
// that a test can hold a real login against the RFCs; the secrets in it are the test's own.

import { randomBytes } from "node:crypto";
import { Provider } from "oidc-provider";
import { endWithParent, json, listen } from "./process.mjs";

const port = Number(process.argv[2]);
const { people, par_required = false } = JSON.parse(process.argv[3]);

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clientAuthMethods: [
    "client_secret_basic",
    "client_secret_post",
    "none",
    "private_key_jwt",
    "client_secret_jwt",
  ],
  cookies: { keys: [randomBytes(32).toString("hex")] },
  claims: { profile: ["name", "preferred_username", "picture"], email: ["email", "email_verified"] },
  extraClientMetadata: { properties: ["rotation"] },
  features: {
    pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: par_required },
    registration: { enabled: true },
    revocation: { enabled: true },
  },
  findAccount: (_, id) => id in people && { accountId: id, claims: () => ({ sub: id, ...people[id] }) },
  // Without `prompt=consent` this provider drops `offline_access` (OIDC Core §11), so it is not what decides here.
  issueRefreshToken: (_, client) => client.grantTypeAllowed("refresh_token"),
  pkce: { required: () => true },
  rotateRefreshToken: (context) => context.oidc.client.rotation !== "off",
  ttl: { AccessToken: 3600, Grant: 3600, IdToken: 3600, Interaction: 600, RefreshToken: 3600, Session: 3600 },
  async loadExistingGrant({ oidc }) {
    const grant = new oidc.provider.Grant({ accountId: oidc.session.accountId, clientId: oidc.client.clientId });
    grant.addOIDCScope(oidc.params.scope);
    await grant.save();
    return grant;
  },
});

const requests = [];
provider.use(async (context, next) => {
  await next();
  const { oidc, path, req, body } = context;
  if (!["token", "pushed_authorization_request", "revocation"].includes(oidc?.route)) return;
  const client = oidc.client?.clientId ?? null;
  requests.push({ client, path, form: oidc.body, authorization: req.headers.authorization ?? null, reply: body ?? null });
});
provider.on("server_error", (_, error) => console.error(error));

const handler = provider.callback();
endWithParent();
await listen((request, response) => {
  if (request.url !== "/control/requests") return handler(request, response);
  json(response, requests);
}, port);

// `oauth2-mock-server`, whose answers can be spoilt: node malformed.mjs PORT
//
// Each first path segment that begins with `~` is an issuer of its own. PUT /control/fault names an endpoint (`at`:
// /token, /~b/userinfo, …) and what it does instead of answering, until it is put without more; GET lists the requests
// since the last GET. `merge`, `json` and `claims` change what the mock answers; all else is written to the socket as it
// is, because no framework would send it.

import { gzipSync } from "node:zlib";
import { OAuth2Issuer, OAuth2Service } from "oauth2-mock-server";
import { bodyOf, endWithParent, json, listen } from "./process.mjs";

const port = Number(process.argv[2]);
const faults = new Map();
let hits = [];

const keys = new OAuth2Issuer().keys;
const key = await keys.generate("RS256");
const clean = (body) => Object.fromEntries(Object.entries(body).filter(([, value]) => value !== "(absent)"));

// The package's own hooks: a well-formed answer with other contents.
const services = new Map();
async function serviceOf(realm) {
  const issuer = new OAuth2Issuer();
  issuer.url = `http://127.0.0.1:${port}${realm}`;
  await issuer.keys.add(key);
  const service = new OAuth2Service(issuer);
  const change = (at) => (answer) => {
    const fault = faults.get(at) ?? {};
    if (fault.merge) answer.body = clean({ ...answer.body, ...fault.merge });
    if ("json" in fault) answer.body = fault.json;
    if (fault.status) answer.statusCode = fault.status;
  };
  service.on("beforeResponse", change(`${realm}/token`));
  service.on("beforeUserinfo", change(`${realm}/userinfo`));
  service.on("beforeTokenSigning", (token) => {
    const { claims, header } = faults.get(`${realm}/token`) ?? {};
    token.payload = clean({ ...token.payload, ...claims });
    Object.assign(token.header, header);
  });
  return service;
}

// Anything else: bytes.
const raw = {
  answer(response, { status = 200, headers = {}, body = "", repeat = 1, gzip = false, hex = false }) {
    const whole = Buffer.concat(Array(repeat).fill(Buffer.from(body, hex ? "hex" : "utf8")));
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(gzip ? gzipSync(whole) : whole);
  },
  truncate(response, { body }) {
    response.writeHead(200, { "content-type": "application/json", "content-length": body.length + 100 });
    response.write(body, () => response.destroy());
  },
  hangup(response) {
    response.socket.destroy();
  },
  silence() {},
  endless(response) {
    response.writeHead(200, { "content-type": "application/json" });
    const part = `"${"x".repeat(1 << 16)}",`;
    response.write("[");
    const more = () => response.destroyed || (response.write(part) ? setImmediate(more) : response.once("drain", more));
    more();
  },
  bytes(response, { body }) {
    response.socket.end(body);
  },
};

endWithParent();
await listen(async (request, response) => {
  const path = request.url.split("?")[0];
  if (path === "/control/fault") {
    const seen = hits;
    if (request.method === "PUT") {
      const { at, ...what } = JSON.parse(await bodyOf(request));
      faults.set(at, what);
    } else hits = [];
    return json(response, seen);
  }
  hits.push(`${request.method} ${path}`);
  const fault = faults.get(path);
  if (fault?.raw) return raw[fault.raw](response, fault);
  const realm = path.match(/^\/~\w+/)?.[0] ?? "";
  if (!services.has(realm)) services.set(realm, await serviceOf(realm));
  request.url = request.url.slice(realm.length);
  return services.get(realm).requestHandler(request, response);
}, port);

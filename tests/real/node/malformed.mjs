// `oauth2-mock-server`, whose answers can be spoilt: node malformed.mjs PORT
//
// PUT /control/fault names an endpoint (`at`: /token, /userinfo, …) and what it does instead of answering, until
// DELETE; GET lists the requests since the last GET. `merge`, `json` and `claims` change what the mock answers; all else
// is written to the socket as it is, because no framework would send it.

import { gzipSync } from "node:zlib";
import { OAuth2Issuer, OAuth2Service } from "oauth2-mock-server";
import { bodyOf, endWithParent, json, listen } from "./process.mjs";

const port = Number(process.argv[2]);
const issuer = new OAuth2Issuer();
issuer.url = `http://127.0.0.1:${port}`;
await issuer.keys.generate("RS256");
const service = new OAuth2Service(issuer);

let fault = null;
let hits = [];

// The package's own hooks: a well-formed answer with other contents.
const clean = (body) => Object.fromEntries(Object.entries(body).filter(([, value]) => value !== "(absent)"));
const merge = (at) => (answer) => {
  if (fault?.at !== at) return;
  if (fault.merge) answer.body = clean({ ...answer.body, ...fault.merge });
  if ("json" in fault) answer.body = fault.json;
  if (fault.status) answer.statusCode = fault.status;
};
service.on("beforeResponse", merge("/token"));
service.on("beforeUserinfo", merge("/userinfo"));
service.on("beforeTokenSigning", (token) => {
  token.payload = clean({ ...token.payload, ...fault?.claims });
  Object.assign(token.header, fault?.header);
});

// Anything else: bytes.
const raw = {
  async answer(response, { status = 200, headers = {}, body = "", repeat = 1, gzip = false, hex = false }) {
    const part = hex ? Buffer.from(body, "hex") : Buffer.from(body);
    const whole = repeat > 1 ? Buffer.concat(Array(repeat).fill(part)) : part;
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(gzip ? gzipSync(whole) : whole);
  },
  async truncate(response, { body }) {
    response.writeHead(200, { "content-type": "application/json", "content-length": body.length + 100 });
    response.write(body, () => response.destroy());
  },
  async hangup(response) {
    response.socket.destroy();
  },
  async silence() {},
  async endless(response) {
    response.writeHead(200, { "content-type": "application/json" });
    const part = `"${"x".repeat(1 << 16)}",`;
    response.write("[");
    const more = () => response.destroyed || (response.write(part) ? setImmediate(more) : response.once("drain", more));
    more();
  },
  async bytes(response, { body }) {
    response.socket.end(body);
  },
};

endWithParent();
await listen(async (request, response) => {
  const path = request.url.split("?")[0];
  if (path === "/control/fault") {
    const seen = hits;
    if (request.method === "GET") hits = [];
    else fault = request.method === "PUT" ? JSON.parse(await bodyOf(request)) : null;
    return json(response, seen);
  }
  hits.push(`${request.method} ${path}`);
  if (fault?.at === path && fault.raw) return raw[fault.raw](response, fault);
  return service.requestHandler(request, response);
}, port);

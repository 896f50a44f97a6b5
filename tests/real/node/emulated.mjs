// `emulate`: look-alikes of well-known providers, one port each: node emulated.mjs '{"github": {"port": 4001, "seed": {}}}'
//
// `ready` is a port where nothing is served; it opens when all of them listen.

import { Server } from "node:net";
import { createEmulator } from "emulate";
import { endWithParent, json, listen } from "./process.mjs";

const { ready, services } = JSON.parse(process.argv[2]);

// The package offers no way to say where it listens, which would be everywhere.
const anywhere = Server.prototype.listen;
Server.prototype.listen = function (port, host, ...rest) {
  return anywhere.call(this, port, host ?? "127.0.0.1", ...rest);
};

endWithParent();
for (const [service, { port, seed }] of Object.entries(services)) {
  await createEmulator({ service, port, baseUrl: `http://127.0.0.1:${port}`, seed: { [service]: seed } });
}
await listen((_, response) => json(response, Object.keys(services)), ready);

// What all of these servers have in common: they listen on loopback and end with whoever started them.

import { createServer } from "node:http";

export function endWithParent() {
  const parent = process.ppid;
  setInterval(() => process.ppid === parent || process.exit(), 500).unref();
  process.on("SIGTERM", () => process.exit());
}

export function listen(handler, port) {
  return new Promise((resolve, reject) => {
    const server = createServer(handler);
    server.on("error", reject);
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}

export async function bodyOf(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export function json(response, value) {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(value));
}

// A node program at one end of mutual TLS that says what it saw, one line per connection.
//
//   node refused.mjs client FOLDER PORT VERSION/CREDENTIAL/BYTES/TIMES...
//       connects TIMES times, sends BYTES bytes each, and reads until the verdict
//   node refused.mjs server FOLDER VERSION/CREDENTIAL...
//       listens once per case ("port<TAB>CASE<TAB>PORT") and echoes, until it is killed
//
// Each line is "saw<TAB>CASE<TAB>TEXT": "echoed N", "end of file", or the first error, in node's
// own words. FOLDER holds CREDENTIAL.crt and .key, servers.crt and clients.crt (trust anchors).

import fs from "node:fs";
import path from "node:path";
import tls from "node:tls";

// Against a hang only.
const PATIENCE = 20_000;

const [mode, folder, ...rest] = process.argv.slice(2);
const read = (name) => fs.readFileSync(path.join(folder, name));
const say = (...fields) => process.stdout.write(fields.join("\t").replaceAll("\n", " ") + "\n");
const describe = (error) => `${error.code}: ${error.message}`;

function settings(version, credential) {
  const own =
    credential === "none"
      ? {}
      : { cert: read(`${credential}.crt`), key: read(`${credential}.key`) };
  const file = path.join(folder, "settings.json");
  const more = fs.existsSync(file) ? JSON.parse(fs.readFileSync(file)) : {};
  if (more.crl) more.crl = fs.readFileSync(more.crl);
  return { ...own, ...more, minVersion: version, maxVersion: version };
}

function connect(port, version, credential, bytes) {
  return new Promise((resolve) => {
    let seen = null;
    let echoed = 0;
    const socket = tls.connect({
      ...settings(version, credential),
      host: "127.0.0.1",
      port,
      servername: "localhost",
      ca: read("servers.crt"),
    });
    const verdict = (text) => (seen ??= text); // the first is what a program would have printed
    socket.setTimeout(PATIENCE, () => {
      verdict("timeout");
      socket.destroy();
    });
    socket.on("secureConnect", () => {
      if (bytes > 0) socket.write(Buffer.alloc(bytes, "hello\n"));
    });
    socket.on("data", (chunk) => {
      echoed += chunk.length;
      if (echoed >= bytes) {
        verdict(`echoed ${echoed}`);
        socket.end();
      }
    });
    socket.on("error", (error) => verdict(describe(error)));
    socket.on("end", () => verdict("end of file"));
    socket.on("close", () => resolve(seen ?? "closed"));
  });
}

if (mode === "client") {
  const [port, ...cases] = rest;
  for (const name of cases) {
    const [version, credential, bytes, times] = name.split("/");
    for (let i = 0; i < Number(times); i++) {
      say("saw", name, await connect(Number(port), version, credential, Number(bytes)));
    }
  }
} else {
  for (const name of rest) {
    const [version, credential] = name.split("/");
    const server = tls.createServer({
      ...settings(version, credential),
      ca: read("clients.crt"),
      requestCert: true,
      rejectUnauthorized: true,
    });
    server.on("tlsClientError", (error) => say("saw", name, describe(error)));
    server.on("secureConnection", (socket) => {
      let echoed = 0;
      let seen = null;
      socket.on("data", (chunk) => {
        echoed += chunk.length;
        socket.write(chunk);
      });
      socket.on("error", (error) => (seen ??= describe(error)));
      socket.on("close", () => say("saw", name, seen ?? `echoed ${echoed}`));
    });
    server.listen(0, "127.0.0.1", () => say("port", name, server.address().port));
  }
}

// A node client of mutual TLS that stays: each line of standard input goes to the server, and
// what comes back is printed.
//
//   node staying.mjs PORT CA CERT KEY VERSION
//
// Whatever goes wrong is one line on standard output, and exit status 1.

import fs from "node:fs";
import readline from "node:readline";
import tls from "node:tls";

const [port, ca, cert, key, version] = process.argv.slice(2);

const socket = tls.connect({
  host: "127.0.0.1",
  port: Number(port),
  servername: "localhost",
  ca: fs.readFileSync(ca),
  cert: fs.readFileSync(cert),
  key: fs.readFileSync(key),
  minVersion: version,
  maxVersion: version,
});
socket.on("error", (error) => {
  process.stdout.write(`${error.code}: ${error.message}\n`);
  process.exitCode = 1;
});
socket.on("data", (data) => process.stdout.write(data));
const input = readline.createInterface({ input: process.stdin });
input.on("line", (line) => socket.write(`${line}\n`));
input.on("close", () => socket.end());

// An echo server with mutual TLS and node's defaults: node echo.js CERT KEY CA. It prints its port.
"use strict";
const fs = require("fs");
const tls = require("tls");

const [cert, key, ca] = process.argv.slice(2).map((path) => fs.readFileSync(path));
const server = tls.createServer(
  { cert, key, ca, requestCert: true, rejectUnauthorized: true, noDelay: true },
  (connection) => {
    connection.on("error", () => connection.destroy());
    connection.pipe(connection);
  },
);
server.on("tlsClientError", () => {});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));

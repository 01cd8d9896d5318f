// An HTTPS server in node, as a service would have one.
//
//   node serving.mjs CERTIFICATE KEY CLIENT-CA required|optional|unverified|none [STATUS]
//
// It listens on a free port of 127.0.0.1 and prints it. With "optional" the program itself answers
// 401 to a client that was not authorised by the TLS library, which only node leaves to it.

import fs from "node:fs";
import https from "node:https";

const [certificate, key, ca, clientAuth, status = "200"] = process.argv.slice(2);

const server = https.createServer(
  {
    cert: fs.readFileSync(certificate),
    key: fs.readFileSync(key),
    ca: fs.readFileSync(ca),
    requestCert: clientAuth !== "none",
    rejectUnauthorized: clientAuth === "required",
    minVersion: "TLSv1.2",
  },
  (request, response) => {
    const refused = clientAuth === "optional" && !request.client.authorized;
    response.writeHead(refused ? 401 : Number(status), { "content-type": "text/plain" });
    response.end(refused ? `${request.client.authorizationError}\n` : "hello\n");
  },
);
server.listen(0, "127.0.0.1", () => console.log(server.address().port));

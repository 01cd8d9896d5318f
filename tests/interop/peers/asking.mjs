// Asks a server twice over HTTPS, on one connection:
//   asking FOLDER PORT CREDENTIAL     with a client certificate, by https.request
//   asking FOLDER PORT fetch          without, by fetch; NODE_EXTRA_CA_CERTS names the trust anchors
// Prints the last answer's body, or the error.
import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";

const [folder, port, credential] = process.argv.slice(2);
const url = `https://localhost:${port}/json`;

async function byFetch() {
  return await (await fetch(url)).text();
}

function byRequest(agent) {
  return new Promise((resolve, reject) => {
    const asked = request(url, { agent }, (answer) => {
      let body = "";
      answer.setEncoding("utf8");
      answer.on("data", (chunk) => (body += chunk));
      answer.on("end", () => resolve(body));
    });
    asked.on("error", reject);
    asked.end();
  });
}

let ask = byFetch;
if (credential !== "fetch") {
  const read = (name) => readFileSync(`${folder}/${name}`);
  const agent = new Agent({
    keepAlive: true,
    ca: read("servers.crt"),
    cert: read(`${credential}.crt`),
    key: read(`${credential}.key`),
    lookup: (_host, options, found) =>
      options.all ? found(null, [{ address: "127.0.0.1", family: 4 }]) : found(null, "127.0.0.1", 4),
  });
  ask = () => byRequest(agent);
}
await ask();
console.log(await ask());
process.exit(0);

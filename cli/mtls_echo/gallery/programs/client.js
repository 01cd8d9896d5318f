// One request by node's own HTTPS: URL CA, URL CA CRL, or URL CA CERT KEY; 1 if it fails.
const fs = require("fs");
const https = require("https");

const [url, ca, own, key] = process.argv.slice(2);
const options = { ca: fs.readFileSync(ca), timeout: 8000, agent: false };
if (key) {
  Object.assign(options, { cert: fs.readFileSync(own), key: fs.readFileSync(key) });
} else if (own) {
  options.crl = fs.readFileSync(own, "utf8").match(/-----BEGIN[^]+?-----END X509 CRL-----\n/g);
}
const fail = (error) => {
  console.error(error.code || "", error.message);
  process.exit(1);
};
const request = https.get(url, options, (answer) => {
  answer.on("error", fail).on("aborted", () => fail(new Error("aborted"))).resume();
  answer.on("end", () => process.exit(answer.complete && answer.statusCode === 200 ? 0 : 1));
});
request.on("error", fail).on("timeout", () => request.destroy(new Error("timeout")));

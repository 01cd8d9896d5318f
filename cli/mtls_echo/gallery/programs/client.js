// One request by node's own HTTPS, to a URL with a file of trust anchors; 1 if it fails.
const fs = require("fs");
const https = require("https");

const [url, ca] = process.argv.slice(2);
const fail = (error) => {
  console.error(error.code || "", error.message);
  process.exit(1);
};
const request = https.get(url, { ca: fs.readFileSync(ca), timeout: 8000, agent: false }, (answer) => {
  answer.on("error", fail).on("aborted", () => fail(new Error("aborted"))).resume();
  answer.on("end", () => process.exit(answer.complete && answer.statusCode === 200 ? 0 : 1));
});
request.on("error", fail).on("timeout", () => request.destroy(new Error("timeout")));

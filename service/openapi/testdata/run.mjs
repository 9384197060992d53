// Runs every operation of a broker from its /openapi.json alone, with Node's
// own fetch.
//
//     keyward dev &
//     export NODE_EXTRA_CA_CERTS=.keyward/ca.pem TOKEN=…
//     node service/openapi/testdata/run.mjs https://127.0.0.1:7444
//
// fetch shows no client certificate, so TOKEN is a bearer token of somebody who
// may do all of this.

// An operation, and the operation whose reply's link fills it in.
const tour = [
  ["SetSecret"], ["GetSecret"], ["GetSecret", "GetSecret"], ["GetSecretVersion", "SetSecret"],
  ["UpdateSecret"], ["UpdateSecretVersion", "SetSecret"], ["BatchGetSecrets"], ["GenerateSecret"],
  ["ListSecretVersions"], ["ListSecrets"], ["BackupSecret"], ["DeleteSecret"], ["GetDeletedSecret"],
  ["ListDeletedSecrets"], ["UndeleteSecret"], ["DeleteSecret"], ["PurgeSecret"],
  ["RestoreSecret", "BackupSecret"], ["DeleteSecret"], ["PurgeSecret"],
];

// evaluate is the value of a link's runtime expression.
function evaluate(expression, { values, headers, body }) {
  if (expression === "$response.body") return body;
  const [source, where, ...rest] = expression.split(".");
  if (source === "$request") return values[rest.join(".")];
  if (where === "header") return headers.get(rest.join("."));
  return where.slice("body#/".length).split("/").reduce((at, key) => at[key], body);
}

const base = process.argv[2];
const spec = await (await fetch(base + "/openapi.json")).json();
const operations = {};
for (const [path, methods] of Object.entries(spec.paths)) {
  for (const [method, o] of Object.entries(methods)) operations[o.operationId] = { method: method.toUpperCase(), path, o };
}

const last = {};
let failed = 0;
for (const [name, source] of tour) {
  const { method, path, o } = operations[name];
  const parameters = o.parameters || [];
  const values = Object.fromEntries(parameters.filter((p) => "example" in p).map((p) => [p.name, p.example]));
  let body = o.requestBody?.content["application/json"].example;
  if (source) {
    const link = Object.values(operations[source].o.responses[200].links).find((l) => l.operationId === name);
    for (const [key, expression] of Object.entries(link.parameters)) values[key] = evaluate(expression, last[source]);
    if (link.requestBody) body = evaluate(link.requestBody, last[source]);
  }
  const url = new URL(path.replace(/\{(\w+)\}/g, (_, p) => encodeURIComponent(values[p])), base);
  const headers = { Authorization: "Bearer " + process.env.TOKEN };
  for (const p of parameters) {
    if (!(p.name in values)) continue;
    if (p.in === "query") url.searchParams.set(p.name, values[p.name]);
    if (p.in === "header") headers[p.name] = values[p.name];
  }
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const reply = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
  const text = await reply.text();
  const fine = reply.status < 400 && String(reply.status) in o.responses;
  if (!fine) failed++;
  console.log(fine ? "ok  " : "FAIL", reply.status, method, url.pathname, fine ? "" : text);
  last[name] = { values, headers: reply.headers, body: text && JSON.parse(text) };
}
const left = Object.keys(operations).filter((id) => !tour.some(([name]) => name === id));
if (left.length) console.log("FAIL not run:", ...left);
process.exitCode = failed || left.length ? 1 : 0;

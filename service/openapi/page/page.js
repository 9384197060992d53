"use strict";

// Draws /openapi.json. Everything is put in as text, never as markup.

const methods = ["get", "put", "post", "patch", "delete"];

function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  e.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== ""));
  return e;
}

// inline is text with its `code`.
function inline(text) {
  return text.split("`").map((part, i) => (i % 2 ? el("code", null, part) : part));
}

// prose is Markdown's paragraphs and indented blocks, which is all there is.
function prose(text) {
  return (text || "").split(/\n\n+/).filter(Boolean).map((block) =>
    block.startsWith("    ")
      ? code(block.replace(/^ {4}/gm, ""))
      : el("p", null, inline(block)));
}

// code can be scrolled, so it can be focused.
function code(text) {
  return el("pre", { tabindex: "0" }, el("code", null, text));
}

const json = (value) => code(JSON.stringify(value, null, 2));

function table(kind, heads, rows) {
  // The roles say what a narrow screen's blocks still are.
  const row = (cells) => el("tr", { role: "row" }, cells);
  return el("div", { class: "table", tabindex: "0", role: "group", "aria-label": kind },
    el("table", { class: kind === "Errors" ? "errors" : "fields", role: "table" },
      el("thead", { role: "rowgroup" }, row(heads.map((h) => el("th", { scope: "col", role: "columnheader" }, h)))),
      el("tbody", { role: "rowgroup" }, rows.map((cells) => row(cells.map((c) => el("td", { role: "cell" }, c)))))));
}

// resolve follows a reference.
function resolve(spec, value) {
  if (!value || !value.$ref) return value;
  return value.$ref.slice(2).split("/").reduce((at, key) => at[key], spec);
}

const nameOf = (ref) => ref.split("/").pop();

// typeOf is a schema in a word or two; a named one is a link.
function typeOf(schema) {
  if (!schema) return [];
  if (schema.$ref) return [el("a", { href: "#schema-" + nameOf(schema.$ref) }, nameOf(schema.$ref))];
  if (schema.oneOf && !schema.properties) return schema.oneOf.flatMap((s, i) => [i ? " or " : "", ...typeOf(s)]);
  if (schema.const !== undefined) return [el("code", null, JSON.stringify(schema.const))];
  if (schema.type === "array") return ["list of ", ...typeOf(schema.items)];
  if (schema.type === "object" && schema.additionalProperties) return ["map of ", ...typeOf(schema.additionalProperties)];
  const more = schema.format || schema.contentEncoding;
  return [schema.type + (more ? ", " + more : "")];
}

function field(name, schema, note, description, example) {
  const about = prose(description);
  if (example !== undefined) about.push(el("p", { class: "quiet" }, "for example ", el("code", null, String(example))));
  if (schema.pattern) about.push(el("p", { class: "quiet" }, "matches ", el("code", null, schema.pattern)));
  return [
    [el("code", null, name), note ? el("span", { class: "quiet" }, " " + note) : ""],
    el("span", { class: "quiet" }, typeOf(schema)),
    about,
  ];
}

// fields are those of a schema; a request has none that are read only.
function fields(label, schema) {
  const all = Object.entries(schema.properties || {}).filter(([, s]) => label !== "Request body" || !s.readOnly);
  const rows = all.map(([name, s]) =>
    field(name, s, (schema.required || []).includes(name) ? "required" : s.readOnly ? "read only" : "", s.description));
  return rows.length ? table(label, ["Field", "Type", "What"], rows) : el("p", null, "No fields.");
}

// lines is the type of a reply that is a JSON value per line, for as long as it lasts.
const lines = "application/x-ndjson";

// content is a body: its schema by name, and an example.
function content(spec, label, body) {
  const media = body.content && (body.content["application/json"] || body.content[lines]);
  if (!media) return [];
  const schema = resolve(spec, media.schema);
  return [
    body.content[lines] ? el("p", null, "A stream, of a line of JSON for each:") : null,
    el("p", null, media.schema.$ref ? typeOf(media.schema) : "An empty object."),
    label === "Request body" ? fields(label, schema) : null,
    media.example !== undefined ? el("details", { open: "" }, el("summary", null, "Example"), json(media.example)) : null,
  ];
}

const credentials = "The commands below are for `keyward dev`, in the folder where it was started. Elsewhere, give your own CA and " +
  "certificate, or in place of the certificate a token: `-H \"Authorization: Bearer $TOKEN\"`.";

// quoted is text as a shell takes it.
const quoted = (text) => (/^[\w./:=@-]+$/.test(text) ? text : "'" + text.replaceAll("'", "'\\''") + "'");

// command is an operation as curl sends it. A body comes from standard input:
// an argument would show a value in the list of processes.
function command(path, method, operation) {
  const filled = path.replace(/\{(\w+)\}/g, (_, name) =>
    encodeURIComponent(operation.parameters.find((p) => p.in === "path" && p.name === name).example));
  const curl = operation.responses["200"].content && operation.responses["200"].content[lines] ? "curl -sSN" : "curl -sS";
  const parts = [curl + " --cacert .keyward/ca.pem --cert .keyward/admin.pem --key .keyward/admin-key.pem"];
  if (method !== "get") parts.push("  -X " + method.toUpperCase());
  const media = operation.requestBody && operation.requestBody.content["application/json"];
  if (media) parts.push("  -H 'Content-Type: application/json' --data-binary @-");
  parts.push("  " + quoted(location.origin + filled));
  const line = parts.join(" \\\n");
  return media ? line + " <<'END'\n" + JSON.stringify(media.example) + "\nEND" : line;
}

function copier(text, from, what) {
  const button = el("button", { type: "button", "aria-label": "Copy the command for " + what }, "Copy");
  button.addEventListener("click", async () => {
    let done = "Copied";
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      getSelection().selectAllChildren(from);
      done = "Selected";
    }
    button.textContent = done;
    document.getElementById("told").textContent = done + ": the command for " + what;
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  return button;
}

function errors(spec, responses) {
  const rows = [];
  for (const [status, response] of Object.entries(responses)) {
    if (status < "400") continue;
    const examples = Object.entries(response.content["application/json"].examples);
    for (const [reason, example] of examples) {
      rows.push([status, el("code", null, reason), resolve(spec, example).summary]);
    }
  }
  return table("Errors", ["Status", "Reason", "What the message says"], rows);
}

function links(response) {
  return Object.values(response.links || {}).map((l) =>
    el("li", null, el("a", { href: "#" + l.operationId }, l.operationId), ": ", inline(l.description)));
}

function operation(spec, path, method, o) {
  const success = o.responses["200"];
  const next = links(success);
  const curl = command(path, method, o);
  const shown = code(curl);
  const rows = (o.parameters || []).map((p) =>
    field(p.name, p.schema, p.in + (p.required ? ", required" : ""), p.description, p.example));
  return el("article", { id: o.operationId, "aria-labelledby": "title-" + o.operationId },
    el("h3", { id: "title-" + o.operationId }, o.operationId),
    el("p", { class: "route" }, el("span", { class: "method " + method }, method.toUpperCase()), el("span", { class: "path" }, path)),
    el("p", null, inline(o.summary)),
    prose(o.description),
    el("div", { class: "command" }, el("h4", null, "With curl"), copier(curl, shown, o.operationId)),
    shown,
    rows.length ? [el("h4", null, "Parameters"), table("Parameters", ["Name", "Type", "What"], rows)] : [],
    o.requestBody ? [el("h4", null, "Request body"), content(spec, "Request body", o.requestBody)] : [],
    el("h4", null, "Reply"),
    content(spec, "Reply", success),
    o.responses["304"] ? el("p", null, "304: ", inline(o.responses["304"].description)) : null,
    next.length ? el("details", null, el("summary", null, "What it leads to"), el("ul", null, next)) : null,
    el("details", null, el("summary", null, "Errors"), errors(spec, o.responses)));
}

function schema(name, s) {
  return el("article", { id: "schema-" + name, "aria-labelledby": "title-schema-" + name },
    el("h3", { id: "title-schema-" + name }, name), prose(s.description), fields(name, s));
}

function draw(spec) {
  const main = document.getElementById("main");
  const list = document.getElementById("list");
  document.title = spec.info.title + " API";
  document.getElementById("title").textContent = spec.info.title + " API " + spec.info.version;
  main.replaceChildren(el("section", null,
    el("h1", null, spec.info.summary),
    prose(spec.info.description),
    el("h2", { id: "credentials" }, "Credentials"),
    Object.values(spec.components.securitySchemes).map((s) => el("p", null, inline(s.description))),
    el("p", null, inline(credentials))));
  for (const tag of spec.tags) {
    const section = el("section", { "aria-labelledby": "tag-" + tag.name },
      el("h2", { id: "tag-" + tag.name }, tag.name), prose(tag.description));
    const items = el("ul");
    for (const [path, operations] of Object.entries(spec.paths)) {
      for (const method of methods) {
        const o = operations[method];
        if (!o || !o.tags.includes(tag.name)) continue;
        section.append(operation(spec, path, method, o));
        items.append(el("li", null, el("a", { href: "#" + o.operationId },
          el("span", { class: "method " + method }, method.toUpperCase()), o.operationId)));
      }
    }
    list.append(el("h2", null, tag.name), items);
    main.append(section);
  }
  main.append(el("section", { "aria-labelledby": "schemas" }, el("h2", { id: "schemas" }, "Schemas"),
    Object.entries(spec.components.schemas).map(([name, s]) => schema(name, s))));
  list.append(el("ul", null, el("li", null, el("a", { href: "#schemas" }, "Schemas"))));
}

// contents stand open beside the text, and are opened by hand above it.
function fold() {
  const contents = document.getElementById("contents");
  const wide = matchMedia("(min-width: 56.01rem)");
  const set = () => { contents.open = wide.matches; };
  wide.addEventListener("change", set);
  contents.querySelector("summary").addEventListener("click", (e) => { if (wide.matches) e.preventDefault(); });
  contents.addEventListener("click", (e) => { if (e.target.closest("a") && !wide.matches) contents.open = false; });
  set();
}

async function start() {
  fold();
  try {
    const reply = await fetch("/openapi.json");
    if (!reply.ok) throw new Error("openapi.json: HTTP " + reply.status);
    draw(await reply.json());
  } catch (e) {
    document.getElementById("state").textContent = "The description could not be read: " + e.message + ". Load the page again.";
    return;
  }
  const at = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (at) at.scrollIntoView();
}

start();

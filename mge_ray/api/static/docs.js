// The API's page: what /openapi.json says, with a command for each operation that works when it is pasted into a shell.

import { asksForToken, token } from "./api.js";
import { button, h, put, ticked } from "./dom.js";

const main = document.getElementById("main");
const HERE = location.origin;
const NO_ID = "00000000-0000-0000-0000-000000000000";
const fills = { execution_id: NO_ID, atom_id: "double", wave_id: "1" };
const LABELS = { execution_id: "Execution", atom_id: "Atom", wave_id: "Wave" };
const commands = [];

const quoted = (text) => `'${text.replace(/'/g, "'\\''")}'`;

function resolved(schema, api) {
  const name = schema?.$ref?.split("/").at(-1);
  return name ? { ...api.components.schemas[name], title: name } : schema || {};
}

function typeOf(schema, api) {
  if (!schema) return "any";
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map((one) => typeOf(one, api)).join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items, api)}`;
  return schema.format || schema.type || "any";
}

function bounds(schema) {
  const said = [];
  if (schema.minimum !== undefined) said.push(`at least ${schema.minimum}`);
  if (schema.exclusiveMinimum !== undefined) said.push(`more than ${schema.exclusiveMinimum}`);
  if (schema.maximum !== undefined) said.push(`at most ${schema.maximum}`);
  if (schema.maxLength !== undefined) said.push(`up to ${schema.maxLength} characters`);
  if (schema.maxItems !== undefined) said.push(`up to ${schema.maxItems} of them`);
  if (schema.default !== undefined && schema.default !== null && typeof schema.default !== "object") said.push(`default ${JSON.stringify(schema.default)}`);
  return said.join(", ");
}

function command(path, verb, example) {
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => (name === "atom_id" ? fills.atom_id.split("/").map(encodeURIComponent).join("/") : encodeURIComponent(fills[name] ?? "")));
  const zip = path.endsWith("/output");
  const lines = [`curl -sS ${verb === "get" ? "" : `-X ${verb.toUpperCase()} `}${zip ? "-o project.zip " : ""}${quoted(HERE + filled)}`];
  if (asksForToken && !["/healthz", "/readyz"].includes(path)) lines.push('-H "Authorization: Bearer $TOKEN"');
  if (example !== undefined) lines.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(example))}`);
  return lines.join(" \\\n  ");
}

function copied(label, make) {
  const pre = h("pre", { tabindex: "0", role: "region", "aria-label": `Command: ${label}` });
  const show = () => put(pre, make());
  commands.push(show);
  show();
  return h("div", { class: "copy" }, pre, button("Copy", async () => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
      put(document.getElementById("told"), "Copied.");
    } catch {
      getSelection().selectAllChildren(pre);
      put(document.getElementById("told"), "Selected; copy it with the keyboard.");
    }
  }));
}

function fields(schema, api) {
  const { properties = {}, required = [] } = resolved(schema, api);
  if (!Object.keys(properties).length) return "";
  return h("table", {}, h("thead", {}, h("tr", {}, ["Field", "Type", "Bounds"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, Object.entries(properties).map(([name, one]) => h("tr", {}, h("th", { scope: "row", class: "mono" }, name, required.includes(name) ? "" : "?"), h("td", {}, typeOf(one, api)),
      h("td", { class: "note" }, bounds(one))))));
}

function parameters(list, api) {
  const shown = list.filter((one) => one.in !== "path" && one.name !== "authorization");
  return shown.length ? h("table", {}, h("thead", {}, h("tr", {}, ["Parameter", "In", "Type", "Bounds"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, shown.map((one) => h("tr", {}, h("th", { scope: "row", class: "mono" }, one.name, one.required ? "" : "?"), h("td", {}, one.in), h("td", {}, typeOf(one.schema, api)), h("td", { class: "note" }, bounds(one.schema)))))) : "";
}

function operation(path, verb, said, api) {
  const body = said.requestBody?.content?.["application/json"];
  const schema = (body?.schema?.anyOf || [body?.schema]).filter((one) => one && one.type !== "null")[0];
  const example = body ? body.example ?? resolved(schema, api).examples?.[0] ?? {} : undefined;
  const answers = Object.entries(said.responses || {});
  const good = answers.find(([status]) => status.startsWith("2"));
  const answer = good?.[1].content?.["application/json"]?.schema;
  return h("article", {},
    h("h3", {}, h("span", { class: "verb" }, verb.toUpperCase()), path),
    h("p", {}, ticked((said.description || said.summary || "").trim())),
    copied(`${verb.toUpperCase()} ${path}`, () => command(path, verb, example)),
    h("details", {}, h("summary", {}, "Parameters, body and answers"),
      parameters(said.parameters || [], api),
      schema ? [h("h4", {}, `Body: ${typeOf(schema, api)}`), h("p", {}, ticked(resolved(schema, api).description || "")), fields(schema, api)] : "",
      answer ? [h("h4", {}, `Answer: ${good[0]} ${typeOf(answer, api)}`), h("p", {}, ticked(resolved(answer, api).description || "")), fields(answer, api)] : h("h4", {}, `Answer: ${good?.[0] ?? ""} ${Object.keys(good?.[1].content || {}).join(", ")}`),
      h("p", { class: "note" }, `Refusals: ${answers.map(([status]) => status).filter((status) => !status.startsWith("2")).join(", ")}`)));
}

function schemas(api) {
  return Object.entries(api.components?.schemas || {}).map(([name, schema]) => h("details", {}, h("summary", {}, name), h("p", {}, ticked(schema.description || "")), fields(schema, api)));
}

function inputs(api) {
  const asked = Object.keys(fills).filter((name) => Object.keys(api.paths).some((path) => path.includes(`{${name}}`)));
  return h("div", { class: "fills" }, asked.map((name) => {
    const input = h("input", { id: `fill-${name}`, spellcheck: "false", autocomplete: "off", class: "mono", oninput: () => { fills[name] = input.value.trim(); commands.forEach((show) => show()); } });
    input.value = fills[name];
    return h("div", { class: "field" }, h("label", { for: input.id }, LABELS[name]), input);
  }));
}

// The latest execution and its first atom, so that commands mean something; without one, or a token, placeholders stay.
async function prefill() {
  const headers = asksForToken && token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
  if (asksForToken && !token.get()) return;
  const get = async (path) => (await fetch(`/api/v2/execution${path}`, { headers })).json();
  const { executions } = await get("?limit=1");
  if (!executions?.length) return;
  fills.execution_id = executions[0].execution.execution_id;
  fills.atom_id = (await get(`/${fills.execution_id}/atoms?limit=1`)).atoms?.[0]?.atom_id ?? fills.atom_id;
}

async function show() {
  const [api] = await Promise.all([fetch("/openapi.json").then((answer) => answer.json()), prefill().catch(() => {})]);
  const groups = new Map();
  for (const [path, verbs] of Object.entries(api.paths)) {
    for (const [verb, said] of Object.entries(verbs)) {
      const tag = said.tags?.[0] || "other";
      groups.set(tag, [...(groups.get(tag) || []), operation(path, verb, said, api)]);
    }
  }
  main.append(h("div", {}, h("h1", {}, api.info.title), h("p", { class: "note" }, `Version ${api.info.version}`), api.info.description.split("\n\n").map((text) => h("p", {}, ticked(text))),
    h("section", { "aria-labelledby": "commands" }, h("h2", { id: "commands" }, "In the commands below"),
      asksForToken ? [h("p", {}, "A token that may do it, in the shell's environment:"), copied("the token", () => "read -rs TOKEN && export TOKEN")] : h("p", {}, "This service asks for no token."), inputs(api)),
    [...groups].map(([tag, operations]) => h("section", { "aria-labelledby": `tag-${tag}` }, h("h2", { id: `tag-${tag}` }, tag[0].toUpperCase() + tag.slice(1)), operations)),
    h("section", { "aria-labelledby": "schemas" }, h("h2", { id: "schemas" }, "Schemas"), schemas(api))));
}

show().catch((error) => main.append(h("p", { class: "bad", role: "alert" }, `The description cannot be read: ${error.message}`)));

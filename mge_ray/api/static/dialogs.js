// Dialogs that ask before something is done: one form, its fields, what is wrong with them said inside it.

import { button, h } from "./dom.js";

let count = 0;

// Opens a dialog; `act` gets the fields' values and may throw what is wrong. Resolves when it is closed.
// A field is {name, label, type, value, note, min, max, step, required, maxlength}; its type may be "text", "number", "area", "check".
export function ask({ title, text, fields = [], go, danger = false, act }) {
  return new Promise((resolve) => {
    const id = `dialog${(count += 1)}`;
    const back = document.activeElement;
    const inputs = new Map(fields.map((field) => [field.name, input(field, `${id}-${field.name}`)]));
    const said = h("p", { class: "bad", role: "alert" });
    const submit = h("button", { type: "submit", class: danger ? "danger" : "main" }, go);
    const dialog = h("dialog", { "aria-labelledby": `${id}-title`, "aria-describedby": text ? `${id}-text` : null },
      h("form", { novalidate: true, onsubmit: send }, h("h2", { id: `${id}-title` }, title), text && h("p", { id: `${id}-text` }, text),
        fields.map((field) => line(field, inputs.get(field.name))), said,
        h("p", { class: "buttons" }, submit, button("Not now", () => dialog.close()))));
    async function send(event) {
      event.preventDefault();
      const wrong = fields.find((field) => !inputs.get(field.name).checkValidity());
      if (wrong) {
        said.textContent = `${wrong.label}: ${inputs.get(wrong.name).validationMessage}`;
        inputs.get(wrong.name).focus();
        return;
      }
      submit.disabled = true;
      said.textContent = "";
      try {
        await act(Object.fromEntries(fields.map((field) => [field.name, read(field, inputs.get(field.name))])));
        dialog.close();
      } catch (error) {
        said.textContent = error.message;
      } finally {
        submit.disabled = false;
      }
    }
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (back?.isConnected) back.focus();
      resolve();
    });
    document.body.append(dialog);
    dialog.showModal();
    if (danger && !fields.length) dialog.querySelector(".buttons button:last-child").focus();
  });
}

function input(field, id) {
  const noted = field.note ? { "aria-describedby": `${id}-note` } : {};
  if (field.type === "area") {
    const area = h("textarea", { id, rows: 18, spellcheck: "false", required: field.required, ...noted });
    area.value = field.value || "";
    return area;
  }
  const made = h("input", { id, type: field.type === "check" ? "checkbox" : field.type || "text", min: field.min, max: field.max, step: field.step, required: field.required,
    maxlength: field.maxlength, autocomplete: "off", ...noted });
  if (field.type === "check") made.checked = Boolean(field.value);
  else made.value = field.value ?? "";
  return made;
}

function line(field, made) {
  const label = h("label", { for: made.id }, field.label);
  const note = field.note && h("p", { class: "note", id: `${made.id}-note` }, field.note);
  return field.type === "check" ? h("div", { class: "field check" }, made, label, note) : h("div", { class: "field" }, label, made, note);
}

function read(field, made) {
  if (field.type === "check") return made.checked;
  return field.type === "number" ? Number(made.value) : made.value.trim();
}

// The fields that say which connection, user or group is meant, the same in both forms.

import { id, write } from "./console-dom.js";

const LABELS = { conn: "Connection id", user: "userId", group: "Group" };

/** One form's target: `prefix` is what its fields' ids begin with. */
export class Target {
  constructor(prefix) {
    this.prefix = prefix;
    this.#at("kind").addEventListener("change", () => this.#arrange());
    this.#arrange();
  }

  get kind() {
    return this.#at("kind").value;
  }

  get name() {
    return this.#at("id").value.trim();
  }

  /** The user that is meant; fields that are empty are left out. */
  get user() {
    const fields = {
      userId: this.name,
      tenantId: this.#text("tenant"),
      bankId: this.#text("bank"),
      fromType: this.#text("from"),
    };
    return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ""));
  }

  /** The target as a push has it. */
  toJSON() {
    return { [this.kind]: { conn: this.name, user: this.user, group: this.name, all: true }[this.kind] };
  }

  /** Mean something else. */
  set(kind, name, user = null) {
    this.#at("kind").value = kind;
    this.#at("id").value = name;
    for (const [field, key] of [
      ["tenant", "tenantId"],
      ["bank", "bankId"],
      ["from", "fromType"],
    ]) {
      this.#at(field).value = user?.[key] ?? "";
    }
    this.#arrange();
  }

  focus() {
    this.#at(this.kind === "all" ? "kind" : "id").focus();
  }

  #arrange() {
    write(this.#at("id-label"), LABELS[this.kind] ?? "");
    this.#at("more").hidden = this.kind !== "user";
    const field = id(`${this.prefix}-id-field`);
    if (field) field.hidden = this.kind === "all";
  }

  #text(name) {
    return this.#at(name).value.trim();
  }

  #at(name) {
    return id(`${this.prefix}-${name}`);
  }
}

/** Show what is wrong, at the field that is at fault. */
export function showError(box, message, field = null) {
  box.hidden = message === null;
  write(box, message ?? "");
  for (const input of box.closest("form").querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-errormessage");
  }
  if (message === null) return;
  const at = field?.closest(".field");
  if (at) at.append(box);
  box.setAttribute("role", "alert");
  if (field) {
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-errormessage", box.id);
    field.focus();
  }
}
